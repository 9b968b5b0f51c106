"""The archive: a store of results on Delta Lake that many processes can write to, and its queries."""

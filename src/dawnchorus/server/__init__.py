"""The server: web pages and HTTP API for identification, review of detections, and retraining."""

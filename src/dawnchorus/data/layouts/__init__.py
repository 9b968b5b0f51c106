"""How other people's recordings lie on disk: one file per layout, each giving rows without what only sound can tell."""

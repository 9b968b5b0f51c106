"""Usual names of columns that tell when and where, the likeliest first; spelling does not matter."""

import re

LATITUDE = ("latitude", "lat", "decimal_latitude", "breitengrad", "breite", "latitud", "latitudine")
LONGITUDE = (
    "longitude",
    "lon",
    "lng",
    "long",
    "decimal_longitude",
    "längengrad",
    "laengengrad",
    "longitud",
    "longitudine",
)
PLACE = (
    *("place", "coordinates", "lat_lon", "lat_long", "lat_lng", "latitude_longitude", "position", "gps", "coords"),
    *("lon_lat", "long_lat", "lng_lat", "longitude_latitude", "gps_coordinates", "gps_position"),
    *("koordinaten", "coordenadas", "coordonnées"),
)
DATE = ("date", "recording_date", "recorded_on", "event_date", "start_date", "observation_date", "datum", "fecha")
TIME = ("time", "recording_time", "time_of_day", "event_time", "uhrzeit", "zeit", "heure", "hora")
MOMENT = ("datetime", "date_time", "timestamp", "date_and_time", "recorded_at")


def is_longitude_first(name: str) -> bool:
    """Return True for the name of a column of places that names the longitude before the latitude: `lon,lat`."""
    return re.match(r"[\W_]*l(?:on|ng|ä?ng|aeng).*(?:lat|breit)", name, re.IGNORECASE) is not None

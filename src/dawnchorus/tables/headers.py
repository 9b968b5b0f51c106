"""Usual names of columns that tell when and where, the likeliest first; spelling does not matter."""

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
PLACE = ("place", "coordinates", "lat_lon", "lat_long", "position", "gps", "koordinaten", "coordenadas", "coordonnées")
DATE = ("date", "recording_date", "recorded_on", "event_date", "start_date", "observation_date", "datum", "fecha")
TIME = ("time", "recording_time", "time_of_day", "event_time", "uhrzeit", "zeit", "heure", "hora")
MOMENT = ("datetime", "date_time", "timestamp", "date_and_time", "recorded_at")

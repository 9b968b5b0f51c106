"""Usual column names in several languages, by the kind of the column, the most specific names first.

Case, accents and signs between words do not matter: `header_key` normalizes the names before they are compared.
"""

import re

LATITUDE = ("latitude", "lat", "decimal_latitude", "breitengrad", "breite", "latitud", "latitudine", "breedtegraad")
LONGITUDE = (
    "longitude",
    "lon",
    "lng",
    "long",
    "decimal_longitude",
    "längengrad",
    "laengengrad",
    "länge",
    "laenge",
    "longitud",
    "longitudine",
    "lengtegraad",
)
LOCATION = (
    *("place", "coordinates", "lat_lon", "lat_long", "lat_lng", "latitude_longitude", "position", "gps", "coords"),
    *("lon_lat", "long_lat", "lng_lat", "longitude_latitude", "gps_coordinates", "gps_position"),
    *("koordinaten", "coordenadas", "coordonnées"),
)
DATE = (
    *("date", "recording_date", "recorded_on", "event_date", "start_date", "observation_date"),
    *("datum", "fecha", "data"),
)
TIME = (
    *("time", "recording_time", "time_of_day", "event_time"),
    *("uhrzeit", "zeit", "heure", "hora", "tijd", "ora"),
)
MOMENT = ("datetime", "date_time", "timestamp", "date_and_time", "recorded_at")

FILE = (
    *("datei", "dateiname", "dateipfad", "aufnahme", "fichier", "nom_du_fichier", "nom_fichier", "enregistrement"),
    *(
        "archivo",
        "nombre_archivo",
        "nombre_del_archivo",
        "fichero",
        "grabación",
        "arquivo",
        "nome_do_arquivo",
        "ficheiro",
    ),
    *("gravação", "bestand", "bestandsnaam", "opname", "nome_file", "registrazione", "filnamn", "filnavn", "plik"),
)
"""Columns of recordings' file names in other languages than English; the readers add the English names."""
SPECIES = (
    *("art", "artname", "vogelart", "espèce", "taxon", "especie", "espécie", "soort", "soortnaam", "vogelsoort"),
    *("specie", "gatunek"),
)
SCIENTIFIC_NAME = (
    *("latin_name", "latin"),
    *("wissenschaftlich", "wissenschaftlicher_name", "wissenschaftlicher_artname", "lateinischer_name", "lateinisch"),
    *("nom_scientifique", "nom_latin", "nombre_científico", "nome_científico", "wetenschappelijke_naam"),
    *("latijnse_naam", "nome_scientifico", "vetenskapligt_namn", "nazwa_naukowa"),
)
COMMON_NAME = (
    *("deutscher_name", "deutscher_artname", "trivialname", "nom_français", "nom_vernaculaire", "nom_commun"),
    *("nombre_común", "nome_comum", "nome_popular", "nederlandse_naam", "nome_comune"),
)
START = (
    *("beginn", "anfang", "startzeit", "début", "temps_début", "heure_début", "inicio", "tiempo_inicio"),
    *("tiempo_inicial", "início", "tempo_início", "tempo_inicial", "begintijd", "starttijd", "inizio", "początek"),
)
END = (
    *("ende", "endzeit", "fin", "temps_fin", "heure_fin", "final", "tiempo_fin", "tiempo_final", "fim", "tempo_fim"),
    *("tempo_final", "eind", "einde", "eindtijd", "fine", "slut", "koniec"),
)
DURATION = ("dauer", "länge", "durée", "duración", "duração", "duur", "durata", "varaktighet")
LABEL = ("annotation", "bezeichnung", "etikett", "étiquette", "etiqueta", "rótulo", "etichetta", "observateur_taxon")
SCORE = (
    *("score", "confidence", "probability", "logit", "birdnet_confidence", "konfidenz", "birdnet_konfidenz"),
    *("wahrscheinlichkeit", "confiance", "indice_de_confiance", "probabilité", "tadarida_probabilite", "confianza"),
    *("probabilidad", "confiança", "probabilidade", "betrouwbaarheid", "zekerheid", "confidenza", "probabilità"),
)
LOW_HZ = ("freq_tief", "untere_frequenz", "fréquence_min", "frecuencia_mínima", "frequência_mínima")
HIGH_HZ = ("freq_hoch", "obere_frequenz", "fréquence_max", "frecuencia_máxima", "frequência_máxima")
REJECT = (
    *("reject", "rejected", "false_positive", "is_false_positive", "wrong", "incorrect", "abgelehnt", "rejeté"),
    *("rechazado", "rejeitado", "afgekeurd", "rifiutato"),
)
VALID = (
    *("valid", "is_valid", "accepted", "correct", "is_correct", "true_positive", "is_true_positive", "gültig"),
    *("valide", "válido", "correcto", "correto", "geldig", "valido"),
)
VERIFIED = (
    *("verified", "is_verified", "validated", "confirmed", "reviewed", "checked", "verifiziert", "bestätigt"),
    *("geprüft", "validé", "vérifié", "confirmé", "verificado", "validado", "confirmado", "geverifieerd", "bevestigd"),
)
"""`REJECT`, `VALID` and `VERIFIED`: columns in which a reviewer said yes or no: wrong, right, confirmed."""
LOCALITY = ("ort", "fundort", "lieu", "localité", "lugar", "localidad", "local", "localidade", "plaats", "luogo")
COUNTRY = ("land", "pays", "país", "paese", "kraj")


def is_longitude_first(name: str) -> bool:
    """Return True if a column's name puts longitude before latitude, such as `lon,lat`."""
    return re.match(r"[\W_]*l(?:on|ng|ä?ng|aeng).*(?:lat|breit)", name, re.IGNORECASE) is not None

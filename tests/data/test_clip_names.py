"""Names that tell the recording of a clip."""

from __future__ import annotations

import pytest

from dawnchorus.data.clip_names import archive_number, page_number, parse_clip_name, recorder_name


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("XC123", "XC123"),
        ("xc-00123_4", "XC123"),
        ("XC123 - Great Tit - Parus major", "XC123"),
        ("Parus_major_xeno-canto 123 (2)", "XC123"),
        ("ML123456_part2", "ML123456"),
        ("Macaulay Library 123456", "ML123456"),
        ("iNat1216197", "iNat1216197"),
        ("12345__user__a title", "Freesound 12345"),
        ("freesound-12345_0.0_5.0", "Freesound 12345"),
        ("1-100032-B-0", "Freesound 100032"),
        ("1_100032_B", "Freesound 100032"),
        ("100032-3-0-17", "Freesound 100032"),
        ("XC_20240501_060000", None),
        ("EXC123", None),
        ("ml2_20240501_060000", None),
        ("2024-5-1-6", None),
    ],
)
def test_numbers_of_archives_are_known_in_any_spelling(name: str, number: str | None) -> None:
    assert archive_number(name) == number


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("https://xeno-canto.org/580880", "XC580880"),
        ("//www.xeno-canto.org/580880/download", "XC580880"),
        ("https://macaulaylibrary.org/asset/123456", "ML123456"),
        ("https://freesound.org/people/some.one/sounds/12345/", "Freesound 12345"),
        ("https://xeno-canto.org/", None),
        ("https://example.org/580880", None),
    ],
)
def test_numbers_of_archives_are_known_from_pages(url: str, number: str | None) -> None:
    assert page_number(url) == number


@pytest.mark.parametrize(
    ("name", "recorder", "start", "is_clip"),
    [
        ("SITE_20240501_060000", "site", "20240501060000", False),
        ("SITE_20240501_060000Z", "site", "20240501060000", False),
        ("SITE_20240501_060000+0200_part2", "site", "20240501060000", True),
        ("SITE_20240501_060000_6.0s_9.0s", "site", "20240501060000", True),
        ("0.912_3_20240501_060000_6.0s_9.0s", "", "20240501060000", True),
        ("0.97_1_SITE-A_20240501_060000_0.0s_3.0s", "site a", "20240501060000", True),
        ("0.92_2_SMM09889_20230625_211402", "smm09889", "20230625211402", True),
        ("De03_2019_05_03_08_32_23", "de03", "20190503083223", False),
        ("2024-05-01_06-00-00", "", "20240501060000", False),
        ("5B1A2C30_3", "", "5b1a2c30", True),
        ("Site_5B1A2C30", "site", "5b1a2c30", False),
        ("1_S4A01_20240501_050000", "s4a01", "20240501050000", True),
        ("clip0_of_S4A01_20240501_050000", "s4a01", "20240501050000", True),
        ("0001_S4A01_20240501_050000_0.000", "s4a01", "20240501050000", True),
        ("Avis_magna_0_S4A02_20240501_050000", "s4a02", "20240501050000", True),
        ("wood pipit 0.0s 3.0s from Creek_20240501_050000", "creek", "20240501050000", True),
        ("detection_12_of_SWIFT01_20240501_050000", "swift01", "20240501050000", True),
        ("SITE_seg3_20240501_050000", "site", "20240501050000", True),
        ("1_Forest_20240501_050000", "1 forest", "20240501050000", False),
        ("plot1_S4A01_20240501_050000", "plot1 s4a01", "20240501050000", False),
        ("2_SM4_20240501_050000", "2 sm4", "20240501050000", False),
        ("Avis_magna_20240501_050000", "avis magna", "20240501050000", False),
    ],
)
def test_recorder_and_start_are_known(name: str, recorder: str, start: str, is_clip: bool) -> None:
    name_read = recorder_name(name, frozenset(("avis magna", "wood pipit")))
    assert name_read is not None
    assert (name_read.recorder, name_read.start, name_read.is_clip) == (recorder, start, is_clip)


@pytest.mark.parametrize("name", ["20240501", "Andean Guan1", "20249901_060000", "r7"])
def test_what_is_no_time_is_none(name: str) -> None:
    assert recorder_name(name) is None


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("forest_0.0s_5.0s", "forest"),
        ("forest_0.0_5.0", "forest"),
        ("forest [6s-9s]", "forest"),
        ("forest_0m06s-0m09s", "forest"),
        ("forest part 2 of 3", "forest"),
        ("forest_selection_12", "forest"),
        ("forest.Wav-12", "forest"),
        ("forest.wav_0", "forest"),
        ("forest.wavy-2", None),
        ("0.912_3_forest_6.0s_9.0s", "forest"),
        ("forest-12.00", "forest"),
        ("2022-08-15-birdnet-21:05:54_9s-12s", "2022-08-15-birdnet-21:05:54"),
        ("forest_6_9", "forest"),
        ("forest_6000_9000", "forest"),
        ("forest 6\u20139", "forest"),
        ("forest_3-6s", "forest"),
        ("forest_6sec", "forest"),
        ("forest+6000ms", "forest"),
        ("forest_00h00m06s", "forest"),
        ("forest_00-00-06", "forest"),
        ("forest_00-00-06.500", "forest"),
        ("forest_00:00:06-00:00:09", "forest"),
        ("forest_00-00-06_00-00-09", "forest"),
        ("forest.00.0-03.0", "forest"),
        ("forest_6,0-9,0", "forest"),
        ("forest_start=6_end=9", "forest"),
        ("forest_from_6_to_9", "forest"),
        ("forest_offset_6", "forest"),
        ("forest_2_of_3", "forest"),
        ("forest 1 von 8", "forest"),
        ("forest_1_de_8", "forest"),
        ("forest Teil 2", "forest"),
        ("Teil 2 von forest", "forest"),
        ("forest 2. Teil", "forest"),
        ("forest_t0_t3", "forest"),
        ("clip_3_of_8_from_forest", "forest"),
        ("forest St\u00fcck_3", "forest"),
        ("forest_0sek", "forest"),
        ("forest_3 Sekunden", "forest"),
        ("forest_offset_0_dur_3", "forest"),
        ("forest von 0 bis 3", "forest"),
        ("forest_inicio_0_fin_3", "forest"),
        ("forest_0s_len_3s", "forest"),
        ("forest_6-9_song", "forest"),
        ("forest_6.0-9.0_0.81", "forest"),
        ("0006-0009 forest", "forest"),
        ("6_9_forest", "forest"),
        ("[6s-9s] forest", "forest"),
        ("forest-00.00.27.184-00.00.30.184-seg1", "forest"),
        ("forest_0.6s_0.8999999999999999s", "forest"),
        ("forest.segmented_003", "forest"),
        ("forest_01m_30s__02m_00s", "forest"),
        ("call-Orca-A12_130_2015_12B_46210_47810", "2015 12b"),
        ("noise-_2381_2010_101BC_10005000_10003000", "2010 101bc"),
        ("forest_6_8", None),
        ("forest_2", None),
        ("Andean Guan1", None),
        ("SITE_12-05-01_18-00-00", None),
        ("2024-05-01_00-00-06", None),
        ("20240501-00-00-06", None),
        ("forest_48.13_11.58", "forest_48.13"),
        ("forest_5kHz-8kHz", None),
        ("forest 1z8", None),
        ("rue de 8", None),
    ],
)
def test_times_and_parts_name_the_recording_that_a_clip_is_cut_from(name: str, recording: str | None) -> None:
    cut = parse_clip_name(name, 3.0)
    assert (cut and cut.recording_names[0]) == recording

"""Whatever is wrong with a file is said in one sentence that names the file and the line."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forebay.offline.traces import LoadOptions, TraceError, load_trace

PLAIN = "arrival_s,input_tokens,output_tokens\n"
CACHED = "arrival_s,input_tokens,output_tokens,cached_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BINNED = "t_seconds,requests,gap\n"
MOONCAKE = '{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}\n'
NOW = datetime(2025, 1, 1, tzinfo=UTC)

CASES = {
    "nothing": ("", None, "is empty"),
    "blank lines": ("\n \n", None, "is empty"),
    "unknown header": ("time,in,out\n1,2,3\n", 1, "no known format does"),
    "header only": (PLAIN, None, "has no rows below its header"),
    "words": (PLAIN + "0,1,2\n1,many,2\n", 3, "input_tokens 'many' is not a number"),
    "line numbers count blank lines": (PLAIN + "\n0,1,2\n\n1,x,2\n", 5, "input_tokens 'x' is not a number"),
    "empty field": (PLAIN + "0,1,\n", 2, "output_tokens '' is not a number"),
    "missing field": (PLAIN + "0,1,2\n5,6\n", 3, "column output_tokens is missing (the line has 2 fields)"),
    "negative tokens": (PLAIN + "0,-1,2\n", 2, "input_tokens '-1' is negative"),
    "negative time": (PLAIN + "-1,1,2\n", 2, "arrival_s '-1' is negative"),
    "half a token": (PLAIN + "0,1.5,2\n", 2, "input_tokens '1.5' is not a whole number"),
    "not finite": (PLAIN + "0,1,2\ninf,1,2\n", 3, "arrival_s 'inf' is not a finite number"),
    "not a number at all": (PLAIN + "nan,1,2\n", 2, "arrival_s 'nan' is not a finite number"),
    "absurd tokens": (PLAIN + "0,1e300,2\n", 2, "more tokens than any model takes"),
    "unsorted": (PLAIN + "0,1,2\n5,1,2\n3,1,2\n", 4, "2 s before the one above it; sort the file by arrival"),
    "milliseconds since 1970": (PLAIN + "1700000000000,1,2\n", 2, "is in the future"),
    "unix and relative": (PLAIN + "0,1,2\n1700000000,1,2\n", 3, "is out of range"),
    "cached beyond input": (CACHED + "0,5,2,6\n", 2, "6 cached tokens are more than the 5 input tokens"),
    "from the future": (AZURE + "2024-05-10 00:00:00,1,2\n2031-05-10 00:00:00,1,2\n", 3, "is in the future"),
    "no such day": (AZURE + "2024-02-30 00:00:00,1,2\n", 2, "is not a time such as"),
    "no such hour": (AZURE + "2024-02-20 25:00:00,1,2\n", 2, "is not a time such as"),
    "half a stamp": (AZURE + "2024-02-20,1,2\n2024,1,2\n", 3, "TIMESTAMP '2024' is not a time"),
    "uneven bins": (BINNED + "0,5,0\n60,5,0\n180,5,0\n", 4, "does not continue in equal steps"),
    "one bin": (BINNED + "0,5,0\n", None, "has one bin"),
    "bins at one time": (BINNED + "0,5,0\n0,5,0\n", 3, "does not continue in equal steps"),
    "all gaps": (BINNED + "0,5,1\n60,5,1\n", None, "marks every bin as a gap"),
    "silence": (BINNED + "0,0,0\n60,0,0\n", None, "has no requests in any bin"),
    "json that ends": (MOONCAKE + '{"timestamp":\n', 2, "is not a JSON object on one line"),
    "json list": (MOONCAKE + "[1]\n", 2, "is JSON, but not an object"),
    "json nesting": (MOONCAKE + "[" * 100_000 + "\n", 2, "is not a JSON object on one line"),
    "json without length": (MOONCAKE + '{"timestamp": 1}\n', 2, "input_length is missing or not a number"),
    "json text length": (MOONCAKE.replace("5,", '"5",', 1), 1, "input_length is missing or not a number"),
    "json blocks": (MOONCAKE.replace("[1]", "7"), 1, "hash_ids is not a list"),
    "json backwards": (MOONCAKE.replace(" 0,", " 900,") + MOONCAKE, 2, "0.9 s before the one above it"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_names_the_line(tmp_path: Path, case: str) -> None:
    text, line, sentence = CASES[case]
    path = tmp_path / "trace.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError) as caught:
        load_trace(path, LoadOptions(now=NOW))
    assert sentence in str(caught.value)
    assert caught.value.line == line
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: " if line is None else f"{path}, line {line}: ")
    assert "\n" not in str(caught.value)


def test_missing_file_folder_and_permission(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        load_trace(tmp_path / "absent.csv")
    with pytest.raises(TraceError, match="is a folder without ServeGen's"):
        load_trace(tmp_path)


def test_binary_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(TraceError, match="is not UTF-8 text"):
        load_trace(path)
    packed = gzip.compress((PLAIN + "0,1,2\n" * 1000).encode())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(TraceError, match="is a damaged gzip file"):
        load_trace(path)
    path.write_bytes(packed[:15] + bytes(8) + packed[23:])
    with pytest.raises(TraceError, match="is a damaged gzip file"):
        load_trace(path)


def test_binary_junk_behind_a_good_header(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(PLAIN.encode() + b"0,1,2\n" + bytes([0, 255, 254, 10]) * 50)
    with pytest.raises(TraceError, match="is not UTF-8 text"):
        load_trace(path)


def test_unsorted_can_be_sorted(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(CACHED + "5,10,1,4\n3,20,2,3\n")
    trace = load_trace(path, LoadOptions(sort=True))
    assert trace.arrival_seconds.tolist() == [3, 5]
    assert trace.input_tokens.tolist() == [20, 10]
    assert trace.cached_tokens is not None
    assert trace.cached_tokens.tolist() == [3, 4]


def test_empty_windows_and_floods(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(PLAIN + "0,1,2\n10,1,2\n")
    with pytest.raises(TraceError, match="has no request between 20 s and 30 s"):
        load_trace(path, LoadOptions(start_seconds=20, end_seconds=30))
    with pytest.raises(TraceError, match=r"would give 1e\+08 requests"):
        load_trace(path, LoadOptions(requests_per_second=1e7))
    path.write_text(BINNED + "0,5,0\n60,5,0\n")
    with pytest.raises(TraceError, match=r"would give 1.2e\+09 requests"):
        load_trace(path, LoadOptions(requests_per_second=1e7))
    with pytest.raises(TraceError, match="has no bins between 500 s"):
        load_trace(path, LoadOptions(start_seconds=500))


def test_servegen_files_are_checked(tmp_path: Path) -> None:
    trace, dataset = tmp_path / "chunk-0-trace.csv", tmp_path / "chunk-0-dataset.json"
    good = "0,1.0,1,Gamma,1,1\n600,1.0,1,Gamma,1,1\n"
    trace.write_text(good)
    with pytest.raises(TraceError, match=r"chunk-0-dataset\.json: cannot be read"):
        load_trace(tmp_path)
    for text in ("no json", "[]", '{"0": 1}'):
        dataset.write_text(text)
        with pytest.raises(TraceError, match="is not"):
            load_trace(tmp_path)
    dataset.write_text(json.dumps({"dawn": {}}))
    with pytest.raises(TraceError, match="names a window that is not a number"):
        load_trace(tmp_path)
    dataset.write_text("{}")
    assert len(load_trace(tmp_path)) == 1200
    for line, sentence in (
        ("0,1,1,Gamma,1,1", "does not start after"),
        ("1200,1,1,Zipf,1,1", "'Zipf' is not one of"),
    ):
        trace.write_text(good + line + "\n")
        with pytest.raises(TraceError, match=sentence) as caught:
            load_trace(tmp_path)
        assert caught.value.line == 3

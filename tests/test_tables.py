"""Files of sentences as people have them: each is read as it was meant, or refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer import tasks
from trainer.config import Dialect
from trainer.errors import ArgumentError
from trainer.runs import lengths, recipes
from trainer.serving import files
from trainer.tasks import tables

NOUNS = ("soup", "lamp", "song", "chair", "play", "lake", "road", "bread")
ROWS = [
    (f"The {NOUNS[i % 8]} of {NOUNS[i // 8]} was {('lovely', 'dull')[i % 2]}", ("pos", "neg")[i % 2]) for i in range(40)
]


def joined(rows, separator=",", heading="text,label"):
    """The rows as text, with nothing quoted."""
    lines = [heading.replace(",", separator), *(separator.join(row) for row in rows)]
    return "\n".join(lines) + "\n"


def quoted(rows, separator=","):
    """The rows as a spreadsheet writes them."""
    import io

    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerows([("text", "label"), *rows])
    return file.getvalue()


def ending(rows, end):
    return [(text + end, label) for text, label in rows]


READ = {
    "tab in .csv": ("x.csv", joined(ROWS, "\t"), ROWS),
    "pipe": ("x.csv", joined(ROWS, "|"), ROWS),
    "semicolon, commas in the text": (
        "x.csv",
        joined(ending(ROWS, ", I think, yes"), ";"),
        ending(ROWS, ", I think, yes"),
    ),
    "comma in .tsv": ("x.tsv", joined(ROWS), ROWS),
    "Excel's sep line": ("x.csv", "sep=;\n" + joined(ROWS, ";"), ROWS),
    "sep line with a sign of its own": ("x.csv", "sep=~\r\n" + joined(ROWS, "~").replace("\n", "\r\n"), ROWS),
    "decimal commas": ("x.csv", joined([(*row, "0,01") for row in ROWS], ";", "text,label,score"), ROWS),
    "a comma in one name of the heading": ("x.csv", joined(ROWS, ";", "text,label").replace("text;", "text;", 1), ROWS),
    "quoted TSV": ("x.tsv", quoted(ending(ROWS, '\tand more, "really"'), "\t"), ending(ROWS, ' and more, "really"')),
    "line breaks in TSV": ("x.tsv", quoted(ending(ROWS, "\nReally."), "\t"), ending(ROWS, " Really.")),
    "line breaks and a comma a line": (
        "x.csv",
        quoted(ending(ROWS, ", well\nso, yes")),
        ending(ROWS, ", well so, yes"),
    ),
    "lone marks as in GLUE": (
        "x.tsv",
        joined([('"' + text, label) for text, label in ROWS], "\t"),
        [('"' + text, label) for text, label in ROWS],
    ),
    "an unclosed mark": (
        "x.csv",
        joined([*ROWS[:7], ('"' + ROWS[7][0], ROWS[7][1]), *ROWS[8:]]),
        [*ROWS[:7], ('"' + ROWS[7][0], ROWS[7][1]), *ROWS[8:]],
    ),
    "a word in marks at the front": (
        "x.csv",
        joined([('"Loud" ' + text, label) for text, label in ROWS]),
        [('"Loud" ' + text, label) for text, label in ROWS],
    ),
    "a comma at each line's end": ("x.csv", joined([(*row, "") for row in ROWS]), ROWS),
    "a comma at the heading's end too": ("x.csv", joined([(*row, "") for row in ROWS], heading="text,label,"), ROWS),
    "R's row names": ("x.csv", joined([(str(i), *row) for i, row in enumerate(ROWS, 1)]), ROWS),
    "an index column without a name": (
        "x.csv",
        joined([(str(i), *row) for i, row in enumerate(ROWS)], heading=",text,label"),
        ROWS,
    ),
    "blank lines": ("x.csv", joined(ROWS).replace("\n", "\n\n"), ROWS),
    "carriage returns alone": ("x.csv", joined(ROWS).replace("\n", "\r"), ROWS),
    "a mark of UTF-8": ("x.csv", "\ufeff" + joined(ROWS), ROWS),
    "UTF-16 with a mark": ("x.csv", joined(ROWS).encode("utf-16"), ROWS),
    "UTF-16 without one": ("x.csv", joined(ROWS).encode("utf-16-le"), ROWS),
    "gzip": ("x.csv.gz", gzip.compress(joined(ROWS, ";").encode()), ROWS),
    "a JSON array": ("x.json", json.dumps([{"text": t, "label": n} for t, n in ROWS]), ROWS),
    "an array in .jsonl": ("x.jsonl", json.dumps([{"text": t, "label": n} for t, n in ROWS], indent=1), ROWS),
    "wrapped": (
        "x.json",
        json.dumps({"version": "1", "data": [{"text": t, "label": n} for t, n in ROWS]}, indent=2),
        ROWS,
    ),
    "JSON Lines in .json": ("x.json", "".join(json.dumps({"text": t, "label": n}) + "\r\n" for t, n in ROWS), ROWS),
    "a label in an object": (
        "x.jsonl",
        "".join(json.dumps({"text": t, "label": {"name": n}}) + "\n" for t, n in ROWS),
        ROWS,
    ),
    "a label in a list": ("x.jsonl", "".join(json.dumps({"text": t, "label": [n]}) + "\n" for t, n in ROWS), ROWS),
    "tokens": ("x.jsonl", "".join(json.dumps({"text": t.split(), "label": n}) + "\n" for t, n in ROWS), ROWS),
}


@pytest.mark.parametrize("kind", READ)
def test_a_file_is_read_as_it_was_meant(kind, tmp_path):
    name, content, rows = READ[kind]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    task = tasks.get(str(path))
    split = task.usable().sentences
    read = [(text, task.usable().label_names[label]) for text, label in zip(split.texts, split.labels, strict=True)]
    assert read == [(" ".join(text.split()), label) for text, label in rows]


def stray(column, rows=ROWS):
    """Rows of which two have a lone mark at the front and at the end, so that a cell seems to reach over the lines."""
    rows = [list(row) for row in rows]
    rows[5][column] = '"' + rows[5][column]
    rows[20][column] += '"'
    return rows


REFUSED = {
    "an unquoted comma": (
        "x.csv",
        joined([(ROWS[0][0] + ", yes", "pos"), *ROWS[1:]]),
        "2 cells in each line of x.csv",
        "line 2",
    ),
    "an unquoted comma in all rows": (
        "x.csv",
        joined([("Honestly, " + t, n) for t, n in ROWS]),
        "39 more such lines",
        "line 2",
    ),
    "too few cells": ("x.csv", joined([*ROWS, ("only a text",)]), "got 1 in line 42", "quotation marks"),
    "two stray marks": (
        "x.csv",
        joined([row[::-1] for row in stray(0)], heading="label,text"),
        "lines 7 to 22",
        "remove these two marks",
    ),
    "no heading": ("x.csv", joined(ROWS).partition("\n")[2], "a heading", "text,label"),
    "a sign that nobody knows": ("x.csv", joined(ROWS, "^"), "'^' in every line", "commas"),
    "several labels in a list": (
        "x.jsonl",
        json.dumps({"text": "a", "label": ["p", "n"]}) + "\n",
        "several (p, n)",
        "one label",
    ),
    "several labels in a string": (
        "x.csv",
        joined([*ROWS, ("Both at once", "pos|neg")]),
        "several (pos|neg)",
        "one label",
    ),
    "several label columns": (
        "x.csv",
        joined([(t, str(i % 2), str(i % 3 % 2)) for i, (t, _) in enumerate(ROWS)], heading="text,toxic,insult"),
        "toxic, insult",
        "label column",
    ),
    "an object as a text": (
        "x.jsonl",
        json.dumps({"text": {"a": 1, "b": 2}, "label": "p"}) + "\n",
        "a sentence",
        "plain text",
    ),
    "cp1252": ("x.csv", joined([("caf\xe9", "pos"), *ROWS]).encode("cp1252"), "x.csv in UTF-8", "cp1252"),
    "half a line of JSON": ("x.jsonl", '{"text": "a", "label": "p"}\n{"text"\n', "line 2", "JSON Lines"),
    "no objects": ("x.json", "[1, 2]", "position 1", "x.json as JSON"),
    "two lists": (
        "x.json",
        json.dumps({"a": [{"text": "x"}], "b": [{"text": "y"}]}),
        "2 lists of objects",
        "x.json as JSON",
    ),
    "deep JSON": ("x.json", "[" * 100_000, "x.json as JSON", "check the file's content"),
    "not gzip": ("x.csv.gz", "text,label\n", "x.csv.gz", "readable"),
    "no spreadsheet": ("x.xlsx", "x", "x.xlsx as Excel", "zip"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_can_be_misread_is_refused_in_one_sentence(kind, tmp_path):
    name, content, *parts = REFUSED[kind]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArgumentError) as caught:
        tasks.get(str(path)).load(0)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_person_says_of_separator_and_encoding_overrules_the_content(tmp_path, tiny_backbone):
    path = tmp_path / "x.csv"
    path.write_bytes(joined([("caf\xe9 | " + text, label) for text, label in ROWS], "|", "text,label").encode("cp1252"))
    table = tables.read(path, separator="comma", encoding="cp1252").frame
    assert list(table.columns) == ["text|label"]
    assert table["text|label"][0].startswith("caf\xe9 | The soup")
    path.write_bytes(joined([("caf\xe9 " + text, label) for text, label in ROWS], "|", "text,label").encode("cp1252"))
    config = recipes.make(method="full", task=str(path), backbone=str(tiny_backbone), separator="|", encoding="cp1252")
    assert (config.separator, config.encoding) == ("pipe", "cp1252")
    assert all(text.startswith("caf\xe9 The ") for text in tasks.from_config(config).train.texts)


def test_a_table_says_how_it_was_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(joined([(str(i), *row) for i, row in enumerate(ROWS)], ";", "text,label").encode("utf-16"))
    shown = tables.read(path).dialect.shown()
    assert all(part in shown for part in ("row names", "a semicolon", "UTF-16"))
    path.write_text(joined(ROWS), encoding="utf-8")
    assert tables.read(path).dialect.shown() == ""


@pytest.mark.parametrize("suffix", [".xlsx", ".ods"])
def test_a_spreadsheets_first_sheet_is_read(suffix, tmp_path):
    """The file is written here as the formats define it: the libraries that write them are not needed otherwise."""
    path = spreadsheet(tmp_path / f"x{suffix}")
    table = tables.read(path)
    assert list(table.frame["text"]) == [text for text, _ in ROWS]
    assert tasks.get(str(path)).usable().label_names == ("neg", "pos")
    assert "'first'" in table.dialect.shown()


def test_label_names_in_the_metadata_of_parquet_are_kept(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    index = {"pos": 0, "neg": 1}
    columns = {"text": [text for text, _ in ROWS] + ["one more"], "label": [index[name] for _, name in ROWS] + [-1]}
    path = tmp_path / "x.parquet"
    Dataset.from_dict(columns, features=features).to_parquet(path)
    usable = tasks.get(str(path)).usable()
    assert usable.label_names == ("neg", "pos")
    assert [usable.label_names[label] for label in usable.sentences.labels] == [name for _, name in ROWS]
    assert usable.notes == ("1 rows without a text or a label were left out",)


def test_lists_in_parquet_are_tokens_and_single_labels(tmp_path):
    import pandas as pd

    path = tmp_path / "x.parquet"
    pd.DataFrame({"text": [t.split() for t, _ in ROWS], "label": [[name] for _, name in ROWS]}).to_parquet(path)
    usable = tasks.get(str(path)).usable()
    assert list(usable.sentences.texts) == [text for text, _ in ROWS]


def test_four_sentences_a_label_are_enough_with_own_validation_and_test_files(tmp_path):
    paths = []
    for name, rows in (("train", ROWS[:8]), ("validation", ROWS[8:20]), ("test", ROWS[20:])):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text(joined(rows), encoding="utf-8")
    train, validation, test = map(str, paths)
    data = tasks.get(train, validation_file=validation, test_file=test).load(0)
    assert [len(data.train), len(data.validation), len(data.test)] == [8, 12, 20]
    with pytest.raises(ArgumentError, match="at least 8"):
        tasks.get(train, validation_file=validation).load(0)
    paths[0].write_text(joined(ROWS[:7]), encoding="utf-8")
    with pytest.raises(ArgumentError, match="at least 4"):
        tasks.get(train, validation_file=validation, test_file=test).load(0)


def test_a_person_chooses_the_share_that_is_held_out(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(joined(ROWS), encoding="utf-8")
    data = tasks.get(str(path), validation_share=0.3).load(0)
    assert [len(data.train), len(data.validation), len(data.test)] == [16, 12, 12]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12) | st.sampled_from(
    [
        '"',
        '""',
        '"a',
        'a"',
        "a,b",
        "a;b",
        "a\tb",
        "a|b",
        "=1+1",
        "-x",
        "\n",
        "\r",
        "\r\n",
        "x\ny",
        " x ",
        "'",
        "sep=;",
        "\ufeff",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.sampled_from([".csv", ".tsv"]))
def test_what_is_written_is_read_again(tmp_path, cells, suffix):
    import pandas as pd

    table = pd.DataFrame([(f"t{one}", other) for one, other in cells], columns=["text", "label"])
    path = tmp_path / f"x{suffix}"
    files.write(table, path)
    assert tables.read_table(path).values.tolist() == table.values.tolist()


def test_a_spreadsheet_computes_no_cell_of_what_it_opens(tmp_path):
    import pandas as pd

    texts = ["=1+1", "@SUM(1)", "-good film", "+1 lovely", "\t=1", "plain = text", "caf\xe9"]
    path = tmp_path / "x.csv"
    table = pd.DataFrame({"text": texts, "=name": [0.5] * 7})
    files.write(table, path, spreadsheet=True)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    written = tables.read_table(path)
    assert list(written["text"]) == [f"'{text}" for text in texts[:5]] + texts[5:]
    assert list(written.columns) == ["text", "'=name"]
    assert list(table["text"]) == texts, "the table itself stays"
    files.write(table, path)
    assert list(tables.read_table(path)["text"]) == texts


def test_a_language_that_the_backbone_cannot_read_is_said(tmp_path):
    hindi = [("यह फ़िल्म बुरी है " + NOUNS[i % 8] * (i // 8 + 1), label) for i, (_, label) in enumerate(ROWS)]
    path = tmp_path / "x.csv"
    warnings = {}
    for name, rows in (("film", ROWS), ("hindi", hindi), ("long", ending(ROWS, " and so on" * 60))):
        path.write_text(joined(rows), encoding="utf-8")
        config = recipes.make(method="full", task=str(path), backbone="minilm", validation_size=8, test_size=8)
        warnings[name] = lengths.fit(config).warnings("minilm")
    assert warnings["film"] == []
    assert "unknown to minilm" in warnings["hindi"][0]
    assert "such as xlm-roberta-base" in warnings["hindi"][0]
    other = recipes.make(method="lora", task=config.task, backbone="xlm-roberta-base")
    assert lengths.fit(other) is None, "its tokenizer is not here, and MiniLM's says nothing of it"
    assert warnings["long"] == [
        "100% of the sentences are longer than 128 tokens and are cut; the longest has 188.",
    ]


@pytest.mark.parametrize("value", ["colon", "", 3, ",,"])
def test_a_separator_is_one_of_four(value):
    with pytest.raises(ValidationError):
        Dialect(separator=value)


def spreadsheet(path):
    """A minimal file with two sheets, of which the first has the rows."""
    import zipfile
    from xml.sax.saxutils import escape

    rows = [("text", "label"), *ROWS]
    with zipfile.ZipFile(path, "w") as archive:
        if path.suffix == ".ods":
            namespaces = " ".join(
                f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"'
                for short, long in (("office", "office"), ("table", "table"), ("text", "text"))
            )
            cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
            body = "".join(
                "<table:table-row>" + "".join(cell.format(escape(value)) for value in row) + "</table:table-row>"
                for row in rows
            )
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
            archive.writestr("META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{manifest}"/>')
            archive.writestr(
                "content.xml",
                f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {namespaces}><office:body>'
                f'<office:spreadsheet><table:table table:name="first">{body}</table:table>'
                '<table:table table:name="second"/></office:spreadsheet></office:body></office:document-content>',
            )
            return path
        main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        package = "http://schemas.openxmlformats.org/package/2006"
        cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
        body = "".join("<row>" + "".join(cell.format(escape(value)) for value in row) + "</row>" for row in rows)
        sheets = "".join(
            f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in ((1, "first"), (2, "second"))
        )
        targets = "".join(
            f'<Relationship Id="r{i}" Type="{relations}/worksheet" Target="worksheets/sheet{i}.xml"/>' for i in (1, 2)
        )
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>{sheets}</sheets></workbook>'
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{targets}</Relationships>'
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{relations}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        for i, data in ((1, body), (2, "")):
            archive.writestr(
                f"xl/worksheets/sheet{i}.xml", f'<worksheet xmlns="{main}"><sheetData>{data}</sheetData></worksheet>'
            )
    return path

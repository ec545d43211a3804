"""Every type that PostgreSQL has, and every shape of table that pg_dump knows: dumped, restored by both ways, compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from case import Case, Config, settled
from lab import decompress, download, dumped, round_trip
from sandbox_process import REPOSITORY, Sandbox


@pytest.fixture
def case(workshop: Sandbox, tmp_path: Path) -> Iterator[Case]:
    with settled(Case(workshop, tmp_path)) as corner:
        yield corner


# Literals for the base types whose input functions take no text that is good for all.
SAMPLES: dict[str, tuple[str, ...]] = {
    "bool": ("t", "f"),
    "bytea": (r"\x", r"\x00ff5c2e0a0d09", "abc"),
    "char": ("a", "\\\\", "\t", "\n", ""),
    "name": ("a name", "naïve", "x" * 63),
    "int8": ("-9223372036854775808", "9223372036854775807", "0"),
    "int2": ("-32768", "32767"),
    "int2vector": ("1 2 3", ""),
    "int4": ("-2147483648", "2147483647"),
    "regproc": ("now", "-"),
    "text": ("", "\\N", "\\.", "a\nb", "a\rb", "a\tb", "a\\b", "\\", "\u00e9", "\U0001f980", "\b\f\v\x01\x7f", " ", "\\.\n"),
    "oid": ("0", "4294967295"),
    "tid": ("(0,1)", "(4294967295,65535)"),
    "xid": ("1", "4294967295"),
    "cid": ("1",),
    "oidvector": ("1 2", ""),
    "json": ('{"a": [1, 2.50, null, "\\u00e9\\n"]}', "[]", '{"a":1,"a":2}'),
    "xml": ("<a b='c'>&lt;</a>", "text"),
    "point": ("(1,-0)", "(NaN,Infinity)", "(1e-300,1e300)"),
    "lseg": ("[(0,0),(1,1)]",),
    "path": ("[(0,0),(1,1)]", "((0,0),(1,1))"),
    "box": ("(1,1),(0,0)",),
    "polygon": ("((0,0),(1,1),(2,0))",),
    "line": ("{1,2,3}",),
    "float4": ("NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1"),
    "float8": ("NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1"),
    "circle": ("<(1,2),3>",),
    "money": ("$12,345.67", "-92233720368547758.08"),
    "macaddr": ("08:00:2b:01:02:03",),
    "inet": ("192.168.0.1/24", "::1", "::ffff:1.2.3.4/96"),
    "cidr": ("10.0.0.0/8", "2001:db8::/32"),
    "macaddr8": ("08:00:2b:01:02:03:04:05",),
    "aclitem": ("master=r/master", "=r/master"),
    "bpchar": ("a  ", ""),
    "varchar": ("a  ", ""),
    "date": ("infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"),
    "time": ("00:00:00", "24:00:00", "23:59:59.999999"),
    "timestamp": ("infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"),
    "timestamptz": ("infinity", "-infinity", "2026-10-25 01:30:00+02", "4713-01-02 BC"),
    "interval": ("1 year -2 mons 3 days -04:05:06.789", "-178000000 years", "00:00:00.000001", "-1 day +00:00:01"),
    "timetz": ("24:00:00+15:59", "12:00:00-08"),
    "bit": ("1", "0"),
    "varbit": ("", "10101"),
    "numeric": ("NaN", "Infinity", "-Infinity", "0.000", "-1e-1000", "1e1000", "123456789012345678901234567890.10"),
    "refcursor": ("c", ""),
    "regprocedure": ("now()", "-"),
    "regoper": ("0",),
    "regoperator": ("+(integer,integer)",),
    "regclass": ("pg_class", "-"),
    "regtype": ("integer", "-"),
    "regrole": ("master", "-"),
    "regnamespace": ("pg_catalog",),
    "regconfig": ("simple",),
    "regdictionary": ("simple",),
    "regcollation": ('"C"',),
    "uuid": ("00000000-0000-0000-0000-000000000000",),
    "pg_lsn": ("0/0", "FFFFFFFF/FFFFFFFF"),
    "tsvector": ("'a':1A 'b c':2 '\\\\\\\\':3", ""),
    "gtsvector": (),
    "tsquery": ("'a' & !'b' <-> 'c':*A", ""),
    "jsonb": ('{"a": [1, 2.50, null, "\\u00e9\\n"]}', "[]", "1e1000"),
    "jsonpath": ('$."a"[*] ? (@ > 1)',),
    "txid_snapshot": ("10:20:10,14,15",),
    "pg_snapshot": ("10:20:10,14,15",),
    "xid8": ("18446744073709551615",),
}
WITHOUT_LITERALS = {"gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary"} | {
    "pg_brin_minmax_multi_summary"
}
"""Their input functions refuse everything."""
RANGES = {
    "range": ("empty", "[,)", "[1,3)"),
    "multirange": ("{}", "{[1,3),[5,)}"),
}
BASES = """
SELECT typname, typtype::text FROM pg_type WHERE typtype IN ('b', 'r', 'm') AND typisdefined AND typelem = 0 OR typname IN
('name', 'point', 'int2vector', 'oidvector', 'lseg', 'box', 'line') ORDER BY oid
"""


def test_every_type_of_postgresql(case: Case, tmp_path: Path) -> None:
    """One table with a column, and one with an array, of each type; a row for each literal."""
    with lab.database(case.sandbox) as source, source.connect() as session:
        session.execute(lab.READER)
        types = session.execute(BASES).fetchall()
        assert len(types) > 70
        for name, kind in types:
            if name in WITHOUT_LITERALS:
                continue
            samples = SAMPLES.get(name) or RANGES["multirange" if kind == "m" else "range"]
            if name in ("daterange", "tsrange", "tstzrange"):
                samples = ("empty", "[,)", "[2026-01-01,infinity)")
            if name in ("datemultirange", "tsmultirange", "tstzmultirange"):
                samples = ("{}", "{[2026-01-01,2026-02-01),[2026-03-01,)}")
            column = f'pg_catalog."{name}"'
            session.execute(f'CREATE TABLE "of {name}" (n int, one {column}, many {column}[], grid {column}[][])')
            for number, sample in enumerate((*samples, None)):
                one = "NULL" if sample is None else "'" + sample.replace("'", "''") + "'"
                one = f"{one}::{column}"
                session.execute(
                    f'INSERT INTO "of {name}" VALUES ({number}, {one}, ARRAY[{one}, NULL], ARRAY[[{one}, NULL], [NULL, {one}]])'
                )
        assert {name for name, _ in types} >= set(SAMPLES)
        manifest = round_trip(case, source, tmp_path)
        assert manifest["rows"] > 200


OWN_TYPES = r"""
CREATE DOMAIN cents AS bigint CHECK (VALUE >= 0);
CREATE DOMAIN labels AS text[] NOT NULL DEFAULT '{}';
CREATE TYPE mood AS ENUM ('so so', 'it''s "fine"', 'ünwell', E'back\\slash');
CREATE TYPE pair AS (a cents, b mood, c text[]);
CREATE TYPE nested AS (p pair, ps pair[], t timestamptz);
CREATE TYPE span AS RANGE (subtype = float8, multirange_type_name = spans);
CREATE DOMAIN some_pair AS pair CHECK ((VALUE).a > 1);
CREATE TABLE own (c cents, l labels, m mood, ms mood[], p pair, ps pair[], n nested, s span, ss spans, d some_pair);
INSERT INTO own VALUES (5, ARRAY[E'a\n', '\N', NULL, '"', '{', E'\\'], 'ünwell', ARRAY['so so', E'back\\slash']::mood[],
  ROW(3, 'it''s "fine"', ARRAY['(', ')', ',', ' ', '']), ARRAY[ROW(2, NULL, NULL), NULL]::pair[],
  ROW(ROW(1, 'so so', '{}'), '{}', 'infinity'), '[1.5,NaN)', '{[1,2),(3,4]}', ROW(2, 'so so', ARRAY['x']));
INSERT INTO own DEFAULT VALUES;
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube; CREATE EXTENSION isn;
CREATE TABLE of_extensions (h hstore, c citext, l ltree, q lquery, u cube, i isbn13);
INSERT INTO of_extensions VALUES ('a=>"b\\c", "\"x"=>NULL', 'Case', 'Top.Mid', 'Top.*{1,2}', '(1,2),(3,4)', '978-0-393-04002-9');
"""


def test_types_that_people_made(case: Case, tmp_path: Path) -> None:
    with lab.database(case.sandbox) as source:
        source.sql(OWN_TYPES, lab.READER)
        round_trip(case, source, tmp_path)


SHAPES = (REPOSITORY / "tests/fixtures/shapes.sql").read_text()


def test_every_shape_of_table_and_everything_around_it(case: Case, tmp_path: Path) -> None:
    with lab.database(case.sandbox) as source:
        source.sql(SHAPES, lab.READER)
        wide = ", ".join(f"c{number} int" for number in range(1600))
        source.sql(f"CREATE TABLE wide ({wide})", "INSERT INTO wide (c0, c1599) SELECT i, -i FROM generate_series(1, 5) i")
        manifest = round_trip(case, source, tmp_path)
        rows = {table["name"]: table["rows"] for table in manifest["tables"]}
        assert (rows["empty"], rows["no_columns"], rows["all_dropped"], rows["parent"], rows["wide"]) == (0, 100, 2, 1, 5)
        assert "abroad" not in rows and "split" not in rows and rows["split_rest"] == 51
        assert manifest["large_objects"] == {"count": 3, "bytes": 6_000_003}


def test_a_database_without_tables(case: Case, tmp_path: Path) -> None:
    with lab.database(case.sandbox) as source:
        source.sql(lab.READER)
        assert round_trip(case, source, tmp_path)["tables"] == []


LATIN = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
ASCII = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
EUC = "ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C'"


@pytest.mark.parametrize("options", [LATIN, ASCII, EUC], ids=["latin1", "sql_ascii", "euc_jp"])
def test_databases_of_other_encodings(case: Case, tmp_path: Path, options: str) -> None:
    text = {LATIN: "\\xe9ff", ASCII: "\\xe980fe5c", EUC: "\\xc6fc"}[options]
    encoding = options.split("'")[1]
    with lab.database(case.sandbox, options=options) as source:
        source.sql(
            "CREATE TABLE t (n int, a text)",
            f"INSERT INTO t SELECT 1, convert_from('{text}', '{encoding}')",
            "INSERT INTO t VALUES (2, 'plain')",
            lab.READER,
        )
        if options == LATIN:
            source.sql('CREATE TABLE "Caf\u00e9" ("\u00fc" int)', 'INSERT INTO "Caf\u00e9" VALUES (1)')
        round_trip(case, source, tmp_path, options)


def test_settings_of_a_role_or_a_database_change_no_row(case: Case, tmp_path: Path) -> None:
    settings = ["datestyle = 'German'", "intervalstyle = 'sql_standard'", "extra_float_digits = -5", "timezone = 'Asia/Kolkata'"]
    settings += ["bytea_output = 'escape'", "standard_conforming_strings = off", "xmloption = 'document'", "search_path = 'other'"]
    settings += ["statement_timeout = '1ms'", "lock_timeout = '1ms'", "client_encoding = 'LATIN1'", "array_nulls = off"]
    settings += ["default_transaction_isolation = 'serializable'", "lc_messages = 'C'", "client_min_messages = 'debug1'"]
    settings += ["lc_monetary = 'C.UTF-8'", "default_transaction_deferrable = on", "transform_null_equals = on"]
    with lab.database(case.sandbox) as source:
        source.sql(
            "CREATE TABLE t (d date, i interval, f float8, ts timestamptz, b bytea, t text, m money, a int[])",
            r"INSERT INTO t VALUES ('2026-02-01', '1 year -2 days', 0.1::float8 + 0.2, '2026-02-01 12:00+00', '\x00ff', E'\\n', 1.5, '{NULL}')",
            "CREATE SCHEMA other",
            lab.READER,
        )
        try:
            # In one session: those that come later have a millisecond for each statement.
            whom = (f"DATABASE {source.name}", "ROLE strongroom_backup")
            source.sql(*(f"ALTER {each} SET {setting}" for setting in settings for each in whom))
            manifest = dumped(case, source)[1]
        finally:
            source.beside("postgres").sql(f"ALTER DATABASE {source.name} RESET ALL", "ALTER ROLE strongroom_backup RESET ALL")
        (with_settings,) = manifest["tables"]
        assert with_settings["rows"] == 1
        archive = decompressed(case, manifest, tmp_path)
        expected = "2026-02-01\t1 year -2 days\t0.30000000000000004\t2026-02-01 12:00:00+00\t\\\\x00ff\t\\\\n\t$1.50\t{NULL}\n"
        assert archive == expected + "\\.\n\n\n"


def decompressed(case: Case, manifest: Config, directory: Path) -> str:
    """The only table of a dump, as COPY text."""
    archive = download(case, manifest, directory / "text")
    decompress(archive)
    (table,) = manifest["tables"]
    return (archive / f"{table['dump_id']}.dat").read_text()


RLS = "CREATE TABLE hidden (a int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON hidden USING (a > 1)"


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("CREATE TABLE secret (a int); INSERT INTO secret VALUES (1)", ("secret", "permission denied", "strongroom_backup")),
        (RLS + "; GRANT SELECT ON hidden TO strongroom_backup", ("hidden", "row-level security")),
        ("CREATE SCHEMA vault CREATE TABLE secret (a int)", ("vault", "permission denied", "strongroom_backup")),
    ],
    ids=["no_right", "policies", "no_schema"],
)
def test_what_may_not_be_read_fails_by_name_and_is_never_a_subset(
    case: Case, sql: str, says: tuple[str, ...]
) -> None:
    with lab.database(case.sandbox) as source:
        source.beside("postgres").sql("REVOKE pg_read_all_data FROM strongroom_backup")
        try:
            source.sql(sql)
            ended = lab.configure(case, source)("backup", "dump", "lab", code=1)
        finally:
            source.beside("postgres").sql(lab.READER)
    for words in says:
        assert words in ended.out + ended.err, ended.err
    assert case.manifests("lab") == [] and not case.uploads()


CONFIG_TABLES = """
CREATE EXTENSION cube; CREATE TABLE settings (k text, v int, standard bool); INSERT INTO settings VALUES ('shipped', 1, true), ('mine', 2, false);
CREATE SEQUENCE counted; SELECT nextval('counted');
ALTER EXTENSION cube ADD TABLE settings; ALTER EXTENSION cube ADD SEQUENCE counted;
UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass, 'counted'::regclass]::oid[], extcondition = ARRAY['WHERE NOT standard', '']
WHERE extname = 'cube';
"""


def test_of_an_extensions_own_table_the_users_rows_are_dumped(case: Case) -> None:
    with lab.database(case.sandbox) as source:
        source.sql(CONFIG_TABLES, lab.READER)
        _, manifest = dumped(case, source)
        assert [(table["name"], table["rows"]) for table in manifest["tables"]] == [("settings", 1)]

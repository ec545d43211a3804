"""Makes databases up: schemas, types, tables of any kind, and rows that text formats stumble over. A seed makes one of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

NASTY = ["\\N", "\\.", "\\", "\n", "\r", "\t", "\b", "\x01", "'", '"', ",", "{", "}", "(", ")", "$$", "%s", "--", ";", " "]
NASTY += ["\u00e9", "\u00df", "\u4e2d", "\U0001f980", "\u202e", "\ufeff", "NULL", "\\\\.", "\\x00", "a", "b", "Z", "0"]
NAMES = ["select", "Table", "a b", 'q"q', "d.d", "\u00fcber", "\u4e2d\u6587", "new\nline", "back\\slash", "it's", "$1", "(x, y)", "x" * 50]


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Table:
    name: str
    columns: list[tuple[str, str]]
    """Those that rows are given, with their types."""
    key: str = ""
    unlogged: bool = False


@dataclass
class Maker:
    """The statements that make one database."""

    seed: int
    statements: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.taken: set[str] = set()
        self.enums: dict[str, list[str]] = {}
        self.domains: dict[str, str] = {}

    # names and values

    def name(self) -> str:
        stem = self.random.choice([*NAMES, "t", "u", "v", "w"])
        name = stem
        while name in self.taken:
            name = f"{stem}{self.random.randrange(10_000)}"
        self.taken.add(name)
        return quoted(name)

    def text(self, longest: int = 12) -> str:
        if self.random.random() < 0.02:
            return self.random.choice(NASTY) * self.random.randrange(1, 40_000)
        return "".join(self.random.choice(NASTY) for _ in range(self.random.randrange(longest)))

    def types(self) -> list[str]:
        base = "int bigint smallint numeric numeric(20,4) real double precision text varchar(300000) char(5) bytea bool date"
        plain = base.replace("double precision", "float8").split()
        more = ["timestamp", "timestamptz", "interval", "uuid", "jsonb", "inet", "int4range", "int8multirange", "bit varying(9)"]
        return plain + more + ["int[]", "text[]", "float8[]", *self.enums, *self.domains]

    def value(self, kind: str) -> str:
        pick = self.random
        if pick.random() < 0.12:
            return "NULL"
        if kind in self.enums:
            return literal(pick.choice(self.enums[kind]))
        if kind in self.domains:
            return self.value(self.domains[kind])
        if kind.endswith("[]"):
            return self.array(kind)
        number = pick.choice([0, 1, -1, 7, pick.randrange(-30_000, 30_000)])
        floats = ["NaN", "Infinity", "-Infinity", "-0", "1e-30", str(pick.random()), str(number)]
        numerics = ["NaN", "0.0000", "1e15", f"{number}.{abs(number)}", "-0.0001"]
        if kind == "numeric":
            numerics += ["Infinity", "1e500", "-1e-500"]
        days = ["infinity", "-infinity", "2000-02-29", "0044-03-15 BC", "9999-12-31"]
        makers = {
            "int": str(number), "bigint": str(number * 10**13), "smallint": str(number), "bool": pick.choice(["t", "f"]),
            "numeric": pick.choice(numerics), "numeric(20,4)": pick.choice(numerics), "real": pick.choice(floats),
            "float8": pick.choice([*floats, "5e-324"]), "text": self.text(), "varchar(300000)": self.text(), "char(5)": self.text(2)[:5],
            "bytea": "\\x" + pick.randbytes(pick.choice([0, 1, 9, 300])).hex(), "date": pick.choice(days),
            "timestamp": pick.choice([*days, "2026-03-29 02:30:00.000001"]),
            "timestamptz": pick.choice(["infinity", "2026-03-29 01:00:00+00", "1900-01-01 00:00:00+05:53:28"]),
            "interval": pick.choice(["1 mon -1 day", "-00:00:01", "100 years 0.000001 sec"]),
            "uuid": f"{pick.getrandbits(128):032x}", "inet": pick.choice(["10.1.2.3/8", "::1"]),
            "int4range": pick.choice(["empty", "[,5)", "[1,9)"]), "int8multirange": pick.choice(["{}", "{[1,2),[4,)}"]),
            "bit varying(9)": pick.choice(["", "1", "010101"]),
        }  # fmt: skip
        if kind == "jsonb":
            text = self.text().replace("\\", "\\\\").replace('"', '\\"')
            clean = "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in text)
            return literal(f'{{"k": ["{clean}", {number}, null, {{}}]}}')
        return literal(makers[kind])

    def array(self, kind: str) -> str:
        items = [self.value(kind[:-2]) for _ in range(self.random.randrange(4))]
        return f"ARRAY[{', '.join(items)}]::{kind}"

    # objects

    def make(self) -> list[str]:
        pick = self.random
        schemas = ["public"] + [self.schema() for _ in range(pick.randrange(3))]
        for _ in range(pick.randrange(3)):
            self.enum(pick.choice(schemas))
        for _ in range(pick.randrange(3)):
            self.domain(pick.choice(schemas))
        for _ in range(pick.randrange(2, 9)):
            self.table(pick.choice(schemas))
        self.around(schemas)
        return self.statements

    def schema(self) -> str:
        name = self.name()
        self.statements.append(f"CREATE SCHEMA {name}")
        return name

    def enum(self, schema: str) -> None:
        name = f"{schema}.{self.name()}"
        labels = sorted({self.text(6)[:15] or "empty" for _ in range(self.random.randrange(1, 5))})
        self.statements.append(f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, labels))})")
        self.enums[name] = labels

    def domain(self, schema: str) -> None:
        name, base = f"{schema}.{self.name()}", self.random.choice(["int", "text", "numeric", "jsonb"])
        self.statements.append(f"CREATE DOMAIN {name} AS {base} CHECK (VALUE IS NULL OR VALUE::text IS NOT NULL)")
        self.domains[name] = base

    def table(self, schema: str) -> None:
        pick = self.random
        name = f"{schema}.{self.name()}"
        before = self.taken
        self.taken = set()  # columns have names of their own
        columns = [(self.name(), pick.choice(self.types())) for _ in range(pick.choice([0, 1, 2, 3, 5, 12]))]
        table = Table(name, columns)
        parts = [f"{column} {kind}{self.default(kind)}" for column, kind in columns]
        if pick.random() < 0.5:
            table.key = self.name()
            how = pick.choice(["GENERATED ALWAYS AS IDENTITY", "GENERATED BY DEFAULT AS IDENTITY"])
            parts.append(f"{table.key} int {how} PRIMARY KEY")
        whole = next((column for column, kind in columns if kind == "int"), None)
        if whole and pick.random() < 0.5:
            parts.insert(pick.randrange(len(parts)), f"{self.name()} bigint GENERATED ALWAYS AS ({whole}::bigint * 2) STORED")
        ending, partitions = "", []
        if whole and not table.key and pick.random() < 0.5:
            ending, partitions = self.partitions(table, whole)
        elif pick.random() < 0.2:
            ending = " WITH (fillfactor = 30)"
        table.unlogged = not partitions and pick.random() < 0.1
        unlogged = "UNLOGGED " if table.unlogged else ""
        self.taken |= before
        self.statements.append(f"CREATE {unlogged}TABLE {name} ({', '.join(parts)}){ending}")
        self.statements += partitions
        self.fill(table)
        if not partitions and not table.key and pick.random() < 0.3:
            child = f"{schema}.{self.name()}"
            self.statements.append(f"CREATE TABLE {child} () INHERITS ({name})")
            self.fill(Table(child, columns))
        if columns and not partitions and pick.random() < 0.3:
            # Rows keep what a dropped column had; the added one is not in them.
            self.statements.append(f"ALTER TABLE {name} DROP COLUMN {columns[0][0]} CASCADE")
            self.statements.append(f"ALTER TABLE {name} ADD COLUMN {self.name()} text DEFAULT {literal(self.text())}")
            table.columns = columns[1:]
        self.tables.append(table)

    def default(self, kind: str) -> str:
        if self.random.random() < 0.2 and kind not in self.domains:
            return f" DEFAULT {self.value(kind)}"
        return ""

    def partitions(self, table: Table, by: str) -> tuple[str, list[str]]:
        schema = table.name.split(".")[0]
        stem = self.random.randrange(10**6)
        names = [f"{schema}.p{stem}_{number}" for number in range(3)]
        if self.random.random() < 0.5:
            bounds = ["FROM (MINVALUE) TO (0)", "FROM (0) TO (100)"]
            made = [f"CREATE TABLE {name} PARTITION OF {table.name} FOR VALUES {b}" for name, b in zip(names, bounds)]
            made.append(f"CREATE TABLE {names[2]} PARTITION OF {table.name} DEFAULT")
            return f" PARTITION BY RANGE ({by})", made
        made = [
            f"CREATE TABLE {name} PARTITION OF {table.name} FOR VALUES WITH (MODULUS 3, REMAINDER {number})"
            for number, name in enumerate(names)
        ]
        return f" PARTITION BY HASH ({by})", made

    def fill(self, table: Table) -> None:
        count = self.random.choice([0, 1, 3, 40, 300])
        if not table.columns:
            self.statements += [f"INSERT INTO {table.name} DEFAULT VALUES"] * min(count, 40)
            return
        columns = ", ".join(column for column, _ in table.columns)
        for begin in range(0, count, 50):
            rows = [f"({', '.join(self.value(kind) for _, kind in table.columns)})" for _ in range(begin, min(count, begin + 50))]
            # Values one by one: a list of them would have to be of one type.
            self.statements += [f"INSERT INTO {table.name} ({columns}) VALUES {row}" for row in rows]
        if count and self.random.random() < 0.5:
            self.statements.append(f"DELETE FROM ONLY {table.name} WHERE (ctid::text::point)[1]::int % 3 = 1")

    def around(self, schemas: list[str]) -> None:
        """What stands beside tables, and says something of them."""
        pick = self.random
        for table in self.tables:
            if table.columns:
                column, _ = pick.choice(table.columns)
                self.statements.append(f"CREATE INDEX ON {table.name} (({column} IS NULL))")
                self.statements.append(f"COMMENT ON COLUMN {table.name}.{column} IS {literal(self.text() or 'x')}")
            if pick.random() < 0.4:
                self.statements.append(f"CREATE VIEW {pick.choice(schemas)}.{self.name()} AS SELECT * FROM {table.name}")
            if pick.random() < 0.3:
                view = f"CREATE MATERIALIZED VIEW {pick.choice(schemas)}.{self.name()} AS SELECT count(*) AS n FROM {table.name}"
                self.statements.append(view + pick.choice(["", " WITH NO DATA"]))
            if pick.random() < 0.3:
                self.statements.append(f"GRANT SELECT ON {table.name} TO strongroom_backup")
        keyed = [table for table in self.tables if table.key and not table.unlogged]
        for number, table in enumerate(keyed[1:]):
            self.statements.append(f"ALTER TABLE {table.name} ADD COLUMN up{number} int REFERENCES {keyed[0].name}")
        for _ in range(pick.randrange(3)):
            name = f"{pick.choice(schemas)}.{self.name()}"
            self.statements.append(f"CREATE SEQUENCE {name} INCREMENT {pick.choice([1, -1, 10])} CYCLE")
            self.statements += [f"SELECT nextval({literal(name)})"] * pick.randrange(3)
        for number in range(pick.randrange(4)):
            size = pick.choice([0, 1, 5000, 2**20, 2**20 + 1])
            made = f"SELECT lo_from_bytea({90_000 + number}, decode(repeat('{pick.randrange(256):02x}', {size}), 'hex'))"
            self.statements += [made, f"GRANT SELECT ON LARGE OBJECT {90_000 + number} TO strongroom_backup"]

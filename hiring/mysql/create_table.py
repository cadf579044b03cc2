"""What a CREATE TABLE of a backup's schema.sql may say, since it runs with the operator's rights.

A backup stores what SHOW CREATE TABLE prints, but whoever can write to the bucket can store another
statement: one that reads a file or another table, or keeps its rows elsewhere. `fault` accepts one
table of InnoDB, written as the servers print it:

    CREATE TABLE `name` (column or key, ...) option ... [PARTITION BY ...]

Each word is one of `WORDS`, which has no SELECT, TABLE, DIRECTORY, UNION or CONNECTION. LIKE is an
operator inside parentheses, and VALUES are those of a part. Only a constraint names another table,
only a default a sequence. Other functions have no effect but their result. The server checks more.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hiring.errors import BadSource
from hiring.mysql.statements import quote

TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\n\r\f\v]+)
    | (?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    | (?P<name>`(?:[^`]|``)+`)
    | (?P<begin>/\*M?!(?:\d{5,6})?)
    | (?P<end>\*/)
    | (?P<number>(?:0x[0-9a-fA-F]+|0b[01]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.$]))
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>(?!/\*|--\s)[-+*/%<>=!&|^~(),.])
    """,
    re.VERBOSE | re.DOTALL,
)
"""A token of a statement, under an sql_mode with backslash escapes and no ANSI_QUOTES.

`begin` and `end` enclose what only some servers read: /*!50100 ... */, /*M!100301 ... */. A number
ends before no letter: the server reads `1.select` as a number and a word.
"""

_LISTED = """
abs acos action adddate addtime aes_decrypt aes_encrypt algorithm always and any_value array as asc
ascii asin at atan atan2 auto_increment autoextend_size avg_row_length between bigint bin
bin_to_uuid binary bit blob both by cascade case cast ceil ceiling char char_length character
character_length charset check checksum chr coalesce coercibility collate collation column_format
columns comment compact compress compressed compression connection_id constraint conv convert
convert_tz cos cot curdate current_date current_time current_timestamp curtime database date
datetime day day_hour day_microsecond day_minute day_second decimal decode decode_oracle default
degrees delay_key_write delete des_decrypt des_encrypt desc disk distance div double dynamic else
elt empty encode encrypt encrypted encryption encryption_key_id end enforced engine engine_attribute
enum error escape exp export_set extract extractvalue false field find_in_set fixed float floor for
foreign from fulltext generated geomcollection geometry geometrycollection get_format glength
greatest hash hex hour hour_microsecond hour_minute hour_second if ifnull ignored in index inet4
inet6 innodb insert instr int integer interval invisible is isnull json kdf key key_block_size
last_day last_value lastval lcase leading least left length lengthb less like linear linestring list
ln localtime localtimestamp locate longblob longtext lower lpad ltrim max_rows maxvalue md5
mediumblob mediumint mediumtext member memory microsecond mid min_rows minute minute_microsecond
minute_second mod month monthname multilinestring multipoint multipolygon name_const
natural_sort_key nextval no nodegroup not now null nullif numeric nvl nvl2 oct octet_length of off
on or ord overlaps pack_keys page page_checksum page_compressed page_compression_level parser
partition partitions password period period_add period_diff persistent pi point polygon position pow
power precision primary quarter quote radians rand random_bytes range real redundant ref_system_id
references regexp repeat replace restrict returning reverse right rlike round row row_format rpad
rtrim schema sec_to_time second second_microsecond secondary_engine_attribute session_user set
sformat sign signed sin smallint soundex sounds space spatial sqrt srid statement_digest
statement_digest_text stats_auto_recalc stats_persistent stats_sample_pages storage stored
str_to_date strcmp string_to_vector subdate subpartition subpartitions substr substring
substring_index subtime sysdate system_user tablespace tan text than then time timestamp tinyblob
tinyint tinytext trailing transactional translate true truncate ucase uncompress uncompressed_length
unhex unique unix_timestamp unknown unsigned update updatexml upper user using uuid values varbinary
varchar vector version virtual visible week weight_string when with without xor year year_month
yearweek yes zerofill zone
"""
WORDS = frozenset(_LISTED.split())
"""Keywords of a table, and functions."""
FAMILIES = re.compile(
    "bit_|column_|concat(_ws|_operator_oracle)?$|crc32c?$|current_(role|user)$|date(_|diff$)|day(name|of)"
    "|format(_bytes|_pico_time)?$|from_(base64|days|unixtime|vector)$|inet6?_|is_ipv|is_uuid$|json_"
    "|log(10|2)?$|make(_set|date|time)$|mbr|regexp_|sha[12]?$|st_|time(_format|_to_sec|diff|stamp)"
    "|to_(base64|char|date|days|number|seconds|vector)$|trim(_oracle)?$|utc_|uuid|vec|week(day|of)"
)
"""How the names of further such functions begin, or all of a name.

MariaDB lets a default call loadable functions too, such as `log_error`, which writes to its log.
"""
KEYS = re.compile(
    r"(constraint|foreign|fulltext|index|key|period for|primary|spatial|unique|vector key)\b"
)
"""How an item that is no column begins."""
NAMED_FREELY = {"charset", "set", "collate", "using", "partition", "subpartition"}
"""Words before a name without quotes: of a character set, a collation, a kind of index, a part."""
NEVER = {"select", "directory", "union", "connection", "like", "into", "table", "with"}
"""Words that are no names without quotes."""
SEQUENCES = {"lastval", "nextval"}
"""Calls that open a sequence. MariaDB takes them in a column's default only."""
AFTER_DEFAULT = {"on", "comment", "check"}
"""What may follow a column's default, and is in no expression. Quoted texts keep their quotes."""


class _Refused(BadSource):
    """The statement says something that no table of a backup needs."""


class _Token(NamedTuple):
    """A token, in lower case unless quoted; a comment around it is read `since` a version.

    0 is no comment; MariaDB's own are below 0. `end` is where it ends in the statement.
    """

    kind: str = ""
    text: str = ""
    since: int = 0
    end: int = 0


_NOTHING = _Token()


def fault(table: str, statement: str) -> str | None:
    """Why a statement is not a CREATE TABLE of a table that a restore runs; None where it is."""
    try:
        tokens = list(_tokens(statement))
        for newest in {0, *(abs(token.since) for token in tokens)}:
            for mariadb in (False, True):
                _check(table, [each for each in tokens if _reads(each.since, newest, mariadb)])
    except _Refused as error:
        return str(error)
    return None


def _reads(since: int, newest: int, mariadb: bool) -> bool:
    """Whether a server up to a version reads what stands in a comment."""
    if mariadb:  # https://mariadb.com/kb/en/comment-syntax/
        return abs(since) <= newest and not 50700 <= since <= 99999
    return 0 <= since <= newest


def references(statement: str) -> list[str]:
    """The tables that a statement which `fault` accepts refers to, as they stand there."""
    tokens = [*_tokens(statement), *[_NOTHING] * 3]
    return [
        tokens[at + 1].text + (f".{tokens[at + 3].text}" if tokens[at + 2].text == "." else "")
        for at, token in enumerate(tokens)
        if token.text == "references" and token.kind == "word"
    ]


def within(statement: str, tables: Iterable[str]) -> tuple[str, list[str]]:
    """A statement that `fault` accepts, without what opens anything but some tables, and that.

    It loses the constraints that refer to other tables, and the defaults from a sequence. Raises
    BadSource if something else opens them, which takes comments that no server prints.
    """
    names = set(map(quote, tables))
    kept, left_out, end = [], [], 0
    for item in filter(None, _split([*_tokens(statement)][3:])[0]):
        begin, end = end, item[-1].end
        if statement.startswith(("*/", " */"), end):
            end = statement.index("*/", end) + 2
        default = _default(item)
        if not names.issuperset(references(statement[begin:end])):
            left_out.append(f"foreign key {item[1].text[1:-1]}")
        elif any(token.text in SEQUENCES for token in default):
            word, *_, last = default
            left_out.append(f"default {statement[word.end : last.end].strip()}")
            is_nullable = all(token.text != "not" for token in item[: item.index(word)])
            # What the server prints for a column without a default.
            before = statement[begin : word.end - len(word.text)].rstrip()
            kept.append(before + " DEFAULT NULL" * is_nullable + statement[last.end : end])
        else:
            kept.append(statement[begin:end])
    trimmed = "".join([*kept, statement[end:]])
    words = {token.text for token in _tokens(trimmed)}
    if words & SEQUENCES or not names.issuperset(references(trimmed)):
        raise _Refused("schema.sql opens a sequence or another table inside comments")
    return trimmed, left_out


def _default(item: list[_Token]) -> list[_Token]:
    """DEFAULT and the value that follows it in a column."""
    begun = itertools.dropwhile(lambda token: token.text != "default", item)
    return list(itertools.takewhile(lambda token: token.text not in AFTER_DEFAULT, begun))


def _tokens(statement: str) -> Iterator[_Token]:
    at, since = 0, 0
    while at < len(statement):
        found = TOKEN.match(statement, at)
        if not found:
            raise _Refused(f"it has {statement[at : at + 20]!r}")
        at, kind, text = found.end(), str(found.lastgroup), found[0]
        is_quoted = kind in ("text", "name")
        if kind in ("begin", "end"):
            if bool(since) == (kind == "begin"):
                raise _Refused("its comments are not closed, or lie in each other")
            number = int(text.partition("!")[2] or 1) if kind == "begin" else 0
            since = -number if "M" in text else number
        elif is_quoted and since and ("*/" in text or "/*" in text):
            raise _Refused("a text in a comment looks like the comment's end")
        elif kind != "blank":
            yield _Token(kind, text if is_quoted else text.lower(), since, at)
    if since:
        raise _Refused("its last comment is not closed")


def _check(table: str, tokens: list[_Token]) -> None:
    if [token.text for token in tokens[:4]] != ["create", "table", quote(table), "("]:
        raise _Refused(f"it does not begin with CREATE TABLE {quote(table)} (")
    items, options = _split(tokens[3:])
    for item in items:
        first = " ".join(each.text for each in item[:2] if each.kind == "word")
        is_key = KEYS.match(first) and all(each.text != "check" for each in item)
        _check_words(item, frozenset(), is_key)
        outside = {each.text for each in set(item) - set(_default(item))}
        if outside & SEQUENCES or ("references" in outside and item[0].text != "constraint"):
            raise _Refused(f"{item[0].text} opens a sequence or a table where no server prints it")
    # MySQL prints the columns of PARTITION BY without quotes.
    columns = frozenset(item[0].text.strip("`").lower() for item in items if item) - NEVER
    _check_words(options, columns, False)
    texts = [token.text for token in tokens if token.text != "="]
    engines = {engine for word, engine in itertools.pairwise(texts) if word == "engine"}
    if engines != {"innodb"}:
        raise _Refused(f"its engine is {', '.join(sorted(engines)) or 'not named'}, not InnoDB")


def _split(tokens: list[_Token]) -> tuple[list[list[_Token]], list[_Token]]:
    """What commas separate inside the parenthesis at the beginning, and what follows it."""
    items: list[list[_Token]] = [[]]
    depth = 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if not depth:
            return items, tokens[place + 1 :]
        if token.text == "," and depth == 1:
            items.append([])
        elif place:
            items[-1].append(token)
    raise _Refused("a parenthesis is not closed")


def _check_words(tokens: list[_Token], columns: frozenset[str], is_key: object) -> None:
    """Checks each word, each call, and each name with a point."""
    depth = 0
    padded = [_NOTHING] * 3 + tokens + [_NOTHING] * 2
    for place, token in enumerate(tokens, start=3):
        before, after = padded[place - 3 : place], padded[place + 1]
        if token.text == "(":
            # An index has a name before its columns, and lengths after them: `name`(10).
            is_length = depth == 1 and after.kind == "number" and padded[place + 2].text == ")"
            has_columns = not depth and (after.kind == "name" or after.text == "(")
            if before[2].kind == "name" and not (is_key and (is_length or has_columns)):
                raise _Refused(f"it calls {before[2].text}")
            depth += 1
        elif token.text == ")":
            depth -= 1
            if depth < 0:
                break
        elif token.text == ".":
            _check_point(before, after)
        elif token.kind == "word":
            _check_word(token.text, before, after, columns if depth else frozenset())
            if token.text == "like" and not depth:
                raise _Refused("it has the word LIKE")
    if depth:
        raise _Refused("its parentheses do not match")


def _check_point(before: list[_Token], after: _Token) -> None:
    third, second, previous = before
    is_sequence = second.text == "(" and third.text in SEQUENCES
    if not is_sequence and second.text != "references":
        raise _Refused(f"it names {previous.text}.{after.text}")


def _check_word(word: str, before: list[_Token], after: _Token, columns: frozenset[str]) -> None:
    what = before[1] if before[2].text == "=" else before[2]
    is_call = after.text == "(" and FAMILIES.match(word)
    is_introducer = word.startswith("_") or word in ("x", "b", "n")
    is_prefix = is_introducer and after.kind in ("text", "number")
    is_name = what.text in NAMED_FREELY and word not in NEVER and after.text != "("
    is_query = word == "values" and after.text not in ("less", "in")
    if is_query or not (word in WORDS or word in columns or is_call or is_prefix or is_name):
        raise _Refused(f"it has the word {word.upper()}")

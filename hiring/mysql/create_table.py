"""What a CREATE TABLE of a backup's schema.sql may say, since it runs with the operator's rights.

A backup stores what SHOW CREATE TABLE prints, but whoever can write to the bucket can store another
statement: one that reads a file or another table, or keeps its rows elsewhere. `check` accepts one
table of InnoDB, written as the servers print it:

    CREATE TABLE `name` (column or key, ...) option ... [PARTITION BY ...]

Each part has its words, and there is no word for SELECT, DIRECTORY, UNION or CONNECTION. LIKE is an
operator inside parentheses. Another table stands behind REFERENCES only. A function is called by a
name of `FUNCTIONS`, which have no effect but their result. The server checks the rest.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

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


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TYPES = _words(
    """
    bit tinyint smallint mediumint int integer bigint decimal numeric float double real year date
    time datetime timestamp char varchar tinytext text mediumtext longtext binary varbinary tinyblob
    blob mediumblob longblob enum set json uuid inet4 inet6 vector geometry point linestring polygon
    multipoint multilinestring multipolygon geometrycollection geomcollection
    """
)
COLUMN_AND_KEY_WORDS = TYPES | _words(
    """
    unsigned zerofill precision not null default on update auto_increment generated always as
    virtual stored persistent comment invisible visible srid ref_system_id column_format fixed
    dynamic storage disk memory check character charset collate compressed true false key unique
    primary current_timestamp enforced constraint fulltext spatial index foreign references delete
    cascade restrict no action set using ignored with parser key_block_size period for
    """
)
OPTION_WORDS = _words(
    """
    engine innodb auto_increment default charset character set collate comment row_format dynamic
    compact redundant compressed fixed page key_block_size stats_persistent stats_auto_recalc
    stats_sample_pages max_rows min_rows avg_row_length pack_keys checksum delay_key_write
    compression encryption engine_attribute secondary_engine_attribute autoextend_size tablespace
    transactional page_compressed page_compression_level page_checksum encrypted encryption_key_id
    storage disk memory yes no on off
    """
)
PARTITION_WORDS = _words(
    """
    partition subpartition by linear range list hash key columns algorithm partitions subpartitions
    values less than in maxvalue default engine innodb comment max_rows min_rows tablespace
    nodegroup
    """
)
UNITS = _words("microsecond second minute hour day week month quarter year")
EXPRESSION_WORDS = (
    TYPES
    | UNITS
    | {f"{unit}_{smaller}" for unit in UNITS for smaller in UNITS}
    | _words(
        """
    and or xor not in is null true false unknown between like rlike regexp escape div mod case when
    then else end interval as charset character collate unsigned signed array using both leading
    trailing from for asc desc current_timestamp current_date current_time localtime localtimestamp
    maxvalue member of sounds at zone precision returning error empty on default less than without
    overlaps
        """
    )
)
FUNCTIONS = _words(
    """
    abs acos adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 bin
    bin_to_uuid cast ceil ceiling char_length character_length chr coalesce coercibility
    collation compress connection_id conv convert convert_tz cos cot curdate curtime database
    decode decode_oracle degrees des_decrypt des_encrypt distance elt encode encrypt exp
    export_set extract extractvalue field find_in_set floor get_format glength greatest hex if
    ifnull insert instr isnull kdf last_day last_value lastval lcase least left length lengthb
    ln locate lower lpad ltrim md5 mid monthname name_const natural_sort_key nextval now nullif
    nvl nvl2 oct octet_length ord password period_add period_diff pi position pow power quote
    radians rand random_bytes repeat replace reverse right round row rpad rtrim schema
    sec_to_time session_user sformat sign sin soundex space sqrt statement_digest
    statement_digest_text str_to_date strcmp string_to_vector subdate substr substring
    substring_index subtime sysdate system_user tan translate truncate ucase uncompress
    uncompressed_length unhex unix_timestamp updatexml upper user version weight_string yearweek
    """
)
FAMILIES = re.compile(
    "bit_|column_|concat|crc32|current_|date|day|format|from_|inet|is_ipv|is_uuid|json_|log|make|mbr"
    "|regexp_|sha|st_|time|to_|trim|utc_|uuid|vec|week"
)
"""How the names of further such functions begin."""
NAMED_FREELY = {"charset", "set", "collate", "using", "partition", "subpartition"}
"""Words before a name without quotes: of a character set, a collation, a kind of index, a part."""
NEVER = {"select", "directory", "union", "connection", "like", "into", "table", "with"}
"""Words that are no names without quotes."""


class _Refused(Exception):
    """The statement says something that no table of a backup needs."""


class _Token(NamedTuple):
    """A token in lower case, unless it is quoted; `versioned` ones are not read by every server."""

    kind: str = ""
    text: str = ""
    versioned: bool = False


_NOTHING = _Token()


def fault(table: str, statement: str) -> str | None:
    """Why a CREATE TABLE is not one that a restore runs; None where it is.

    Args:
        table: that it must create, in the database in use.
        statement: without a semicolon.
    """
    try:
        tokens = list(_tokens(statement))
        _check(table, tokens)
        _check(table, [token for token in tokens if not token.versioned])
    except _Refused as error:
        return str(error)
    return None


def references(statement: str) -> list[str]:
    """The tables that a statement which `fault` accepts refers to, as they stand there."""
    tokens = [*_tokens(statement), *[_NOTHING] * 3]
    return [
        tokens[at + 1].text + (f".{tokens[at + 3].text}" if tokens[at + 2].text == "." else "")
        for at, token in enumerate(tokens)
        if token.text == "references" and token.kind == "word"
    ]


def _tokens(statement: str) -> Iterator[_Token]:
    at, versioned = 0, False
    while at < len(statement):
        found = TOKEN.match(statement, at)
        if not found:
            raise _Refused(f"it has {statement[at : at + 20]!r}")
        at, kind, text = found.end(), str(found.lastgroup), found[0]
        is_quoted = kind in ("text", "name")
        if kind in ("begin", "end"):
            if versioned == (kind == "begin"):
                raise _Refused("its comments are not closed, or lie in each other")
            versioned = not versioned
        elif is_quoted and versioned and ("*/" in text or "/*" in text):
            raise _Refused("a text in a comment looks like the comment's end")
        elif kind != "blank":
            yield _Token(kind, text if is_quoted else text.lower(), versioned)
    if versioned:
        raise _Refused("its last comment is not closed")


def _check(table: str, tokens: list[_Token]) -> None:
    if [token.text for token in tokens[:4]] != ["create", "table", quote(table), "("]:
        raise _Refused(f"it does not begin with CREATE TABLE {quote(table)} (")
    items, options = _split(tokens[3:])
    for item in items:
        is_key = item[:1] and item[0].kind == "word" and all(each.text != "check" for each in item)
        _check_words(item, COLUMN_AND_KEY_WORDS, EXPRESSION_WORDS, is_key)
    texts = [token.text for token in options]
    first = texts.index("partition") if "partition" in texts else len(texts)
    _check_words(options[:first], OPTION_WORDS, frozenset())
    # MySQL prints the columns of PARTITION BY without quotes.
    columns = {item[0].text.strip("`").lower() for item in items if item} - NEVER
    inside = PARTITION_WORDS | EXPRESSION_WORDS | columns
    _check_words(options[first:], PARTITION_WORDS, inside)
    _check_engines([text for text in texts if text != "="])


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


def _check_words(
    tokens: list[_Token], outside: frozenset[str], inside: frozenset[str], is_key: object = False
) -> None:
    """Checks each word, outside and inside parentheses, each call, and each name with a point."""
    depth = 0
    padded = [_NOTHING] * 3 + tokens + [_NOTHING]
    for place, token in enumerate(tokens, start=3):
        before, after = padded[place - 3 : place], padded[place + 1]
        if token.text == "(":
            # An index has a name before its columns, and lengths after them: `name`(10).
            if before[2].kind == "name" and not (is_key and depth < 2):
                raise _Refused(f"it calls {before[2].text}")
            depth += 1
        elif token.text == ")":
            depth -= 1
            if depth < 0:
                break
        elif token.text == ".":
            _check_point(before, after)
        elif token.kind == "word":
            _check_word(token.text, before, after, inside if depth else outside)
    if depth:
        raise _Refused("its parentheses do not match")


def _check_point(before: list[_Token], after: _Token) -> None:
    third, second, previous = before
    is_sequence = second.text == "(" and third.text in ("nextval", "lastval")
    if not is_sequence and second.text != "references":
        raise _Refused(f"it names {previous.text}.{after.text}")


def _check_word(word: str, before: list[_Token], after: _Token, known: frozenset[str]) -> None:
    what = before[1] if before[2].text == "=" else before[2]
    is_known = word in FUNCTIONS or word in EXPRESSION_WORDS or FAMILIES.match(word)
    is_introducer = word.startswith("_") or word in ("x", "b", "n")
    is_name = what.text in NAMED_FREELY and word not in NEVER and after.text != "("
    is_prefix = is_introducer and after.kind in ("text", "number")
    is_call = after.text == "(" and is_known
    if not (word in known or is_call or is_prefix or is_name):
        raise _Refused(f"it has the word {word.upper()}")


def _check_engines(texts: list[str]) -> None:
    engines = {engine for word, engine in itertools.pairwise(texts) if word == "engine"}
    if engines != {"innodb"}:
        raise _Refused(f"its engine is {', '.join(sorted(engines)) or 'not named'}, not InnoDB")

"""What a CREATE TABLE of a backup's schema.sql may say, since it runs with the operator's rights.

A backup stores what SHOW CREATE TABLE prints, but whoever can write to the bucket can store another
statement: one that reads a file or another table, or keeps its rows elsewhere. `check` accepts one
table of InnoDB, written as the servers print it:

    CREATE TABLE `name` (column or key, ...) option ... [PARTITION BY ...]

Each part has its words, and there is no word for SELECT, DIRECTORY, UNION or CONNECTION. LIKE is an
operator inside parentheses. Another table stands behind REFERENCES only. A function is called by a
name of `FUNCTIONS`, which have no effect but their result. The server checks the rest.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
COLUMN_WORDS = TYPES | _words(
    """
    unsigned signed zerofill precision not null default on update auto_increment generated always as
    virtual stored persistent comment invisible visible srid ref_system_id column_format fixed
    dynamic storage disk memory check character charset collate compressed true false key unique
    primary current_timestamp enforced constraint
    """
)
KEY_WORDS = _words(
    """
    constraint primary unique fulltext spatial key index foreign references on delete update cascade
    restrict no action set null default check not enforced using btree hash rtree comment visible
    invisible ignored with parser key_block_size period for clustering match full partial simple
    """
)
OPTIONS_WORDS = _words(
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
UNITS = _words(
    """
    microsecond second minute hour day week month quarter year second_microsecond minute_microsecond
    minute_second hour_microsecond hour_second hour_minute day_microsecond day_second day_minute
    day_hour year_month
    """
)
EXPRESSION_WORDS = (
    TYPES
    | UNITS
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
    abs acos adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 bin bin_to_uuid
    bit_count bit_length cast ceil ceiling char_length character_length chr coalesce coercibility
    collation column_add column_check column_create column_delete column_exists column_get
    column_json column_list compress concat concat_ws connection_id conv convert convert_tz cos cot
    crc32 crc32c curdate current_role current_timestamp current_user curtime database date_add
    date_format date_sub datediff dayname dayofmonth dayofweek dayofyear decode decode_oracle
    degrees des_decrypt des_encrypt distance elt encode encrypt exp export_set extract extractvalue
    field find_in_set floor format format_bytes format_pico_time from_base64 from_days from_unixtime
    geometrycollection get_format glength greatest hex if ifnull inet6_aton inet6_ntoa inet_aton
    inet_ntoa insert instr interval is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6 is_uuid isnull kdf
    last_day last_value lastval lcase least left length lengthb linestring ln locate log log10 log2
    lower lpad ltrim make_set makedate maketime md5 mid mod monthname multilinestring multipoint
    multipolygon name_const natural_sort_key nextval now nullif nvl nvl2 oct octet_length ord
    password period_add period_diff pi point polygon position pow power quote radians rand
    random_bytes repeat replace reverse right round row rpad rtrim schema sec_to_time session_user
    sformat sha sha1 sha2 sign sin soundex space sqrt statement_digest statement_digest_text
    str_to_date strcmp string_to_vector subdate substr substring substring_index subtime sysdate
    system_user tan time_format time_to_sec timediff timestampadd timestampdiff to_base64 to_char
    to_days to_seconds to_vector translate trim trim_oracle truncate ucase uncompress
    uncompressed_length unhex unix_timestamp updatexml upper user utc_date utc_time utc_timestamp
    uuid uuid_short uuid_to_bin vec_distance vec_distance_cosine vec_distance_euclidean vec_fromtext
    vec_totext vector_dim vector_to_string version weekday weekofyear weight_string yearweek
    """
)
FAMILIES = ("json_", "mbr", "regexp_", "st_")
"""How the names of further such functions begin."""
NAMED_FREELY = {"charset", "set", "collate", "using", "partition", "subpartition"}
"""Words before a name without quotes: of a character set, a collation, a kind of index, a part."""
NEVER = {"select", "directory", "union", "connection", "like", "into", "table", "with"}
"""Words that are no names without quotes."""


class _Refused(Exception):
    """The statement says something that no table of a backup needs."""


@dataclass(frozen=True)
class _Token:
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
    end = _end_of_group(tokens, 3)
    for item in _items(tokens[4:end]):
        is_column = bool(item) and item[0].kind == "name"
        _check_words(item, COLUMN_WORDS if is_column else KEY_WORDS, EXPRESSION_WORDS)
    # MySQL prints the columns of PARTITION BY without quotes.
    columns = {item[0].text.strip("`").lower() for item in _items(tokens[4:end]) if item}
    options = tokens[end + 1 :]
    places = [place for place, token in enumerate(options) if token.text == "partition"]
    first = places[0] if places else len(options)
    _check_words(options[:first], OPTIONS_WORDS, frozenset())
    _check_words(
        options[first:], PARTITION_WORDS, PARTITION_WORDS | EXPRESSION_WORDS | (columns - NEVER)
    )
    _check_engines(options)


def _end_of_group(tokens: list[_Token], start: int) -> int:
    """The place of the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[place].text, 0)
        if not depth:
            return place
    raise _Refused("a parenthesis is not closed")


def _items(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """What commas outside parentheses separate."""
    item: list[_Token] = []
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and not depth:
            yield item
            item = []
        else:
            item.append(token)
    yield item


def _check_words(tokens: list[_Token], outside: frozenset[str], inside: frozenset[str]) -> None:
    """Checks each word, outside and inside parentheses, each call, and each name with a point."""
    depth = 0
    is_key = outside is KEY_WORDS and all(token.text != "check" for token in tokens)
    padded = [_NOTHING] * 3 + tokens + [_NOTHING] * 2
    for place, token in enumerate(tokens, start=3):
        before, after = padded[place - 3 : place], padded[place + 1 : place + 3]
        if token.text == "(":
            # An index has a name before its columns, and lengths after them: `name`(10).
            is_length = depth == 1 and after[0].kind == "number" and after[1].text == ")"
            has_columns = not depth and (after[0].kind == "name" or after[0].text == "(")
            if before[2].kind == "name" and not (is_key and (is_length or has_columns)):
                raise _Refused(f"it calls {before[2].text}")
            depth += 1
        elif token.text == ")":
            depth -= 1
            if depth < 0:
                break
        elif token.text == ".":
            _check_point(before, after[0])
        elif token.kind == "word":
            _check_word(token.text, before, after[0], inside if depth else outside)
    if depth:
        raise _Refused("its parentheses do not match")


def _check_point(before: list[_Token], after: _Token) -> None:
    third, second, previous = before
    is_sequence = second.text == "(" and third.text in ("nextval", "lastval")
    if not is_sequence and second.text != "references":
        raise _Refused(f"it names {previous.text}.{after.text}")


def _check_word(word: str, before: list[_Token], after: _Token, known: frozenset[str]) -> None:
    what = before[1] if before[2].text == "=" else before[2]
    is_call = after.text == "(" and (
        word in FUNCTIONS or word in EXPRESSION_WORDS or word.startswith(FAMILIES)
    )
    is_introducer = word.startswith("_") or word in ("x", "b", "n")
    is_name = what.text in NAMED_FREELY and word not in NEVER and after.text != "("
    is_prefix = is_introducer and after.kind in ("text", "number")
    if not (word in known or is_call or is_prefix or is_name):
        raise _Refused(f"it has the word {word.upper()}")


def _check_engines(options: list[_Token]) -> None:
    texts = [token.text for token in options if token.text != "="]
    engines = {texts[place + 1] for place in range(len(texts) - 1) if texts[place] == "engine"}
    if engines != {"innodb"}:
        raise _Refused(f"its engine is {', '.join(sorted(engines)) or 'not named'}, not InnoDB")

/*
 * Query files: see query_file.h. Parsed on whichever thread file_source reads them; each parameter is a row of `rows`.
 * The older form (table, select_field, where_field, additional_conditions) becomes a query.
 */
#include "lookup/query_file.h"

#include "core/base/alloc.h"
#include "lookup/table_int.h"
#include "lookup/text_lines.h"

#define QUERY_FILE_MAX 65536
#define PORT_MAX       65535

/* ---- the parameters ---- */

enum row_type {
    ROW_TEXT,
    ROW_NUMBER,
    ROW_SECONDS, /* kept as milliseconds */
    ROW_BOOL,
};

enum dialect {
    MYSQL = 1,
    SQLITE = 2,
    BOTH = 3,
};

struct row {
    const char *name;
    enum row_type type;
    enum dialect dialects;
    size_t offset;
    const char *def;   /* NULL: none */
    uint64_t min, max; /* numbers and seconds */
};

#define TEXT(name, field, dialects, def)                                                                               \
    {                                                                                                                  \
        name, ROW_TEXT, dialects, offsetof(struct query_file, field), def, 0, 0                                        \
    }
#define VALUE(name, type, field, dialects, def, min, max)                                                              \
    {                                                                                                                  \
        name, type, dialects, offsetof(struct query_file, field), def, min, max                                        \
    }

static const struct row rows[] = {
    TEXT("user", user, MYSQL, NULL),
    TEXT("password", password, MYSQL, NULL),
    TEXT("dbname", dbname, MYSQL, NULL),
    TEXT("hosts", hosts, MYSQL, "localhost"),
    TEXT("charset", charset, MYSQL, "utf8mb4"),
    TEXT("option_file", option_file, MYSQL, NULL),
    TEXT("option_group", option_group, MYSQL, "client"),
    TEXT("tls_cert_file", tls_cert_file, MYSQL, NULL),
    TEXT("tls_key_file", tls_key_file, MYSQL, NULL),
    TEXT("tls_CAfile", tls_cafile, MYSQL, NULL),
    TEXT("tls_CApath", tls_capath, MYSQL, NULL),
    TEXT("tls_ciphers", tls_ciphers, MYSQL, NULL),
    VALUE("tls_verify_cert", ROW_BOOL, tls_verify_cert, MYSQL, "no", 0, 0),
    VALUE("require_result_set", ROW_BOOL, require_result_set, MYSQL, "yes", 0, 0),
    VALUE("idle_interval", ROW_SECONDS, idle_interval_ms, MYSQL, "60", 0, 86400),
    VALUE("retry_interval", ROW_SECONDS, retry_interval_ms, MYSQL, "60", 0, 86400),
    TEXT("dbpath", dbpath, SQLITE, NULL),
    TEXT("domain", domain, BOTH, NULL),
    TEXT("query", query, BOTH, NULL),
    TEXT("result_format", result_format, BOTH, "%s"),
    VALUE("expansion_limit", ROW_NUMBER, expansion_limit, BOTH, "0", 0, UINT32_MAX),
    VALUE("timeout", ROW_SECONDS, timeout_ms, BOTH, "10", 1, 300),
    TEXT("table", table, BOTH, NULL),
    TEXT("select_field", select_field, BOTH, NULL),
    TEXT("where_field", where_field, BOTH, NULL),
    TEXT("additional_conditions", additional_conditions, BOTH, ""),
};

static bool set_bool(bool *to, struct slice value)
{
    bool yes = slice_ieq(value, SLICE_LIT("yes"));

    if (!yes && !slice_ieq(value, SLICE_LIT("no")))
        return false;
    *to = yes;
    return true;
}

/* Sets the field of a row; false when the value is not of its type or out of range. */
static bool set(struct query_file *q, const struct row *row, struct slice value)
{
    void *field = (char *)q + row->offset;
    uint64_t number;

    if (row->type == ROW_TEXT) {
        *(const char **)field = value.n > 0 || row->def != NULL ? arena_slice_dup(&q->arena, value) : NULL;
        return true;
    }
    if (row->type == ROW_BOOL)
        return set_bool(field, value);
    if (row->type == ROW_SECONDS && value.n > 1 && value.p[value.n - 1] == 's')
        value.n--;
    if (!slice_u64(value, row->max, &number) || number < row->min)
        return false;
    *(uint64_t *)field = row->type == ROW_SECONDS ? number * 1000 : number;
    return true;
}

static const struct row *row_of(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_eq(slice_str(rows[i].name), name))
            return &rows[i];
    return NULL;
}

static void set_defaults(struct query_file *q)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].def != NULL)
            set(q, &rows[i], slice_str(rows[i].def));
}

/* ---- hosts ---- */

static bool set_port(struct query_host *h, struct slice text)
{
    uint64_t port;

    if (!slice_u64(text, PORT_MAX, &port) || port == 0)
        return false;
    h->port = (unsigned)port;
    return true;
}

/* "host", "host:port", "[v6]", "[v6]:port", "v6" */
static bool parse_inet(struct query_file *q, struct query_host *h, struct slice text)
{
    size_t colon = slice_rfind(text, ':');
    struct slice host = text, tail = SLICE_EMPTY;

    if (text.n > 0 && text.p[0] == '[') {
        size_t close = slice_find(text, ']');

        if (close == SLICE_NOT_FOUND)
            return false;
        host = slice_make(text.p + 1, close - 1);
        tail = slice_from(text, close + 1);
    } else if (colon != SLICE_NOT_FOUND && slice_find(text, ':') == colon) {
        host = slice_head(text, colon);
        tail = slice_from(text, colon);
    }
    /* The client library's rule, which people know: this name means the socket, not TCP. */
    if (!slice_ieq(host, SLICE_LIT("localhost")))
        h->host = arena_slice_dup(&q->arena, host);
    return host.n > 0 && (tail.n == 0 || (tail.p[0] == ':' && set_port(h, slice_from(tail, 1))));
}

static bool parse_host(struct query_file *q, struct query_host *h, struct slice item)
{
    h->label = arena_slice_dup(&q->arena, item);
    if (slice_starts(item, SLICE_LIT("unix:"))) {
        h->socket = h->label + strlen("unix:");
        return h->socket[0] == '/';
    }
    if (slice_starts(item, SLICE_LIT("inet:")))
        item = slice_from(item, strlen("inet:"));
    return parse_inet(q, h, item);
}

static const char *parse_hosts(struct query_file *q)
{
    struct slice rest = slice_str(q->hosts), item;

    q->host = arena_new_array(&q->arena, QUERY_FILE_HOSTS_MAX, sizeof *q->host);
    while ((item = slice_token(&rest, ", \t\r\n")).n > 0) {
        if (q->nhosts == QUERY_FILE_HOSTS_MAX)
            return "too many hosts";
        if (!parse_host(q, &q->host[q->nhosts++], item))
            return "hosts must be unix:/path, inet:host:port, host:port or host";
    }
    if (q->nhosts == 0)
        q->host[q->nhosts++].label = "localhost";
    return NULL;
}

/* ---- the file ---- */

static bool parse_line(struct query_file *q, enum dialect dialect, const char *where, struct slice line,
                       struct buf *report)
{
    size_t equals = slice_find(line, '=');
    struct slice name = slice_trim(slice_head(line, equals)), value;
    const struct row *row;

    if (equals == SLICE_NOT_FOUND || name.n == 0 || ascii_space(line.p[0]) || memchr(line.p, 0, line.n) != NULL) {
        buf_printf(report, "%s: not of the form: name = value\n", where);
        return false;
    }
    value = slice_trim(slice_from(line, equals + 1));
    row = row_of(name);
    if (row == NULL || !(row->dialects & dialect)) {
        buf_printf(report, "warning: %s: unknown parameter \"%.*s\"\n", where, (int)name.n, name.p);
        return true;
    }
    if (!set(q, row, value)) {
        buf_printf(report, "%s: \"%.*s\" is no value for %s\n", where, (int)value.n, value.p, row->name);
        return false;
    }
    return true;
}

static bool parse_lines(struct query_file *q, enum dialect dialect, const char *path, struct slice text,
                        struct buf *report)
{
    struct text_lines lines;
    struct slice line;
    bool ok = true;

    text_lines_start(&lines, text);
    while (text_lines_next(&lines, &line)) {
        char *where = mem_printf("%s:%d", path, lines.line);

        ok = parse_line(q, dialect, where, line, report) && ok;
        mem_free(where);
    }
    text_lines_end(&lines);
    return ok;
}

/* A query of the older form's parameters. */
static const char *build_query(struct query_file *q)
{
    if (q->query != NULL)
        return NULL;
    if (q->table == NULL || q->select_field == NULL || q->where_field == NULL)
        return "there must be a \"query\" (or \"table\", \"select_field\" and \"where_field\")";
    q->query = arena_printf(&q->arena, "SELECT %s FROM %s WHERE %s='%%s' %s", q->select_field, q->table, q->where_field,
                            q->additional_conditions);
    return NULL;
}

static bool require(const char *path, const char *complaint, struct buf *report)
{
    if (complaint != NULL)
        buf_printf(report, "%s: %s\n", path, complaint);
    return complaint == NULL;
}

static bool compile(struct query_file *q, const char *path, struct buf *report)
{
    struct buf err = {0};
    struct slice rest, line;

    q->templates = query_template_new(&q->arena, q->query, q->result_format, &err);
    rest = buf_slice(&err);
    while ((line = slice_token(&rest, "\n")).n > 0)
        buf_printf(report, "%s: %.*s\n", path, (int)line.n, line.p);
    buf_release(&err);
    if (q->templates != NULL && !query_template_is_quoted(q->templates))
        buf_printf(report,
                   "warning: %s: an expansion in the query stands outside single quotes: a key can change the query\n",
                   path);
    return q->templates != NULL;
}

static struct query_file *parse(enum dialect dialect, const char *path, struct slice text, struct buf *report)
{
    struct query_file *q = NEW(struct query_file);
    bool ok;

    q->refs = 1;
    set_defaults(q);
    ok = parse_lines(q, dialect, path, text, report);
    if (dialect == MYSQL) {
        ok = require(path, q->dbname == NULL ? "\"dbname\" is not set" : NULL, report) && ok;
        ok = require(path, parse_hosts(q), report) && ok;
    } else {
        ok = require(path, q->dbpath == NULL ? "\"dbpath\" is not set" : NULL, report) && ok;
    }
    ok = require(path, q->result_format[0] == '\0' ? "\"result_format\" is empty" : NULL, report) && ok;
    ok = require(path, build_query(q), report) && ok;
    ok = q->query != NULL && compile(q, path, report) && ok;
    if (!ok)
        query_file_unref(&q);
    return q;
}

static void *parse_mysql(const char *path, struct slice text, struct buf *report)
{
    return parse(MYSQL, path, text, report);
}

static void *parse_sqlite(const char *path, struct slice text, struct buf *report)
{
    return parse(SQLITE, path, text, report);
}

static void content_free(void *content)
{
    struct query_file *q = content;

    query_file_unref(&q);
}

const struct file_source_kind query_file_mysql = {
    .parse = parse_mysql,
    .free = content_free,
    .size_max = QUERY_FILE_MAX,
};
const struct file_source_kind query_file_sqlite = {
    .parse = parse_sqlite,
    .free = content_free,
    .size_max = QUERY_FILE_MAX,
};

struct query_file *query_file_ref(struct query_file *q)
{
    q->refs++;
    return q;
}

void query_file_unref(struct query_file **qp)
{
    struct query_file *q = *qp;

    *qp = NULL;
    if (q == NULL || --q->refs > 0)
        return;
    arena_clear(&q->arena);
    mem_free(q);
}

/* ---- answers ---- */

bool query_answer_add(struct query_answer *a, struct slice value)
{
    size_t before = buf_len(&a->text);

    if (value.p == NULL)
        return true;
    if (value.n == 0) {
        a->empty_value = true;
        return true;
    }
    if (before > 0)
        buf_add_char(&a->text, ',');
    if (!query_template_format(a->file->templates, a->key, value, &a->text)) {
        a->text.end = a->text.start + before;
        return true;
    }
    if (a->file->expansion_limit > 0 && ++a->count > a->file->expansion_limit)
        a->error = "the answer has more values than expansion_limit allows";
    else if (buf_len(&a->text) > TABLE_VALUE_MAX)
        a->error = "the answer is too long";
    return a->error == NULL;
}

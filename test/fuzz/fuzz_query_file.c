/*
 * Query files: lookup/query_file.h and query_template.h. A file that is accepted means the same when its parameters are
 * printed and read again; where the template says that it is quoted, no key gets out of the quotes; a value is added
 * to an answer whole or not at all.
 *
 * Input: a byte: bit 0 is sqlite:; the key, up to the first line end; the file.
 */
#include "fuzz/fuzz.h"

#include "lookup/query_file.h"
#include "lookup/table_int.h"

#define MOST_SPOTS 64

/* ---- parse -> print -> parse ---- */

/* clang-format off */
#define TEXT_FIELDS(X) \
    X(user) X(password) X(dbname) X(hosts) X(charset) X(option_file) X(option_group) \
    X(tls_cert_file) X(tls_key_file) X(tls_cafile) X(tls_capath) X(tls_ciphers) \
    X(dbpath) X(domain) X(query) X(result_format) \
    X(table) X(select_field) X(where_field) X(additional_conditions)
/* clang-format on */

static void print_text(struct buf *out, const char *name, const char *value)
{
    if (strcmp(name, "tls_cafile") == 0)
        name = "tls_CAfile";
    if (strcmp(name, "tls_capath") == 0)
        name = "tls_CApath";
    if (value != NULL)
        buf_printf(out, "%s = %s\n", name, value);
}

static void print_file(struct buf *out, const struct query_file *q, bool sqlite)
{
#define PRINT_TEXT(name) print_text(out, #name, q->name);
    TEXT_FIELDS(PRINT_TEXT)
#undef PRINT_TEXT
    buf_printf(out, "expansion_limit = %llu\ntimeout = %llus\n", (unsigned long long)q->expansion_limit,
               (unsigned long long)q->timeout_ms / 1000);
    if (sqlite)
        return;
    buf_printf(out, "idle_interval = %llu\nretry_interval = %llu\n", (unsigned long long)q->idle_interval_ms / 1000,
               (unsigned long long)q->retry_interval_ms / 1000);
    buf_printf(out, "tls_verify_cert = %s\nrequire_result_set = %s\n", q->tls_verify_cert ? "yes" : "no",
               q->require_result_set ? "yes" : "no");
}

/* The same but for white space at the end, which an older form's query may have. */
static void check_same_text(const char *a, const char *b)
{
    MTA_ASSERT((a == NULL) == (b == NULL));
    MTA_ASSERT(a == NULL || slice_eq(slice_trim(slice_str(a)), slice_trim(slice_str(b))));
}

static void check_hosts(const struct query_file *a, const struct query_file *b)
{
    MTA_ASSERT(a->nhosts == b->nhosts && a->nhosts <= QUERY_FILE_HOSTS_MAX);
    for (size_t i = 0; i < a->nhosts; i++) {
        const struct query_host *x = &a->host[i], *y = &b->host[i];

        MTA_ASSERT(x->label != NULL && x->port <= 65535 && x->port == y->port);
        MTA_ASSERT(x->socket == NULL || (x->host == NULL && x->socket[0] == '/'));
        MTA_ASSERT(fuzz_same(x->host, y->host) && fuzz_same(x->socket, y->socket) && fuzz_same(x->label, y->label));
    }
}

static void check_printed(const struct query_file *q, const struct file_source_kind *kind, bool sqlite)
{
    struct buf text = {.max = 0}, report = {.max = 0};
    struct query_file *again;

    print_file(&text, q, sqlite);
    again = kind->parse("again.cf", buf_slice(&text), &report);
    MTA_ASSERT(again != NULL);
#define SAME_TEXT(name) check_same_text(q->name, again->name);
    TEXT_FIELDS(SAME_TEXT)
#undef SAME_TEXT
    MTA_ASSERT(q->expansion_limit == again->expansion_limit && q->timeout_ms == again->timeout_ms);
    MTA_ASSERT(q->idle_interval_ms == again->idle_interval_ms && q->retry_interval_ms == again->retry_interval_ms);
    MTA_ASSERT(q->tls_verify_cert == again->tls_verify_cert && q->require_result_set == again->require_result_set);
    check_hosts(q, again);
    query_file_unref(&again);
    buf_release(&text);
    buf_release(&report);
}

/* ---- the statement ---- */

/* Where keys stand in a statement. */
struct spots {
    struct {
        size_t start, end;
    } at[MOST_SPOTS];
    size_t n;
    bool sqlite;
};

/* Quotes as the dialect does, and notes the place. */
static void quote(void *ctx, struct buf *out, struct slice text)
{
    struct spots *s = ctx;
    size_t start = buf_len(out);

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (s->sqlite ? c == '\'' : c == '\'' || c == '"' || c == '\\')
            buf_add_char(out, s->sqlite ? '\'' : '\\');
        buf_add_char(out, c);
    }
    if (s->n < MOST_SPOTS) {
        s->at[s->n].start = start;
        s->at[s->n++].end = buf_len(out);
    }
}

/* Reads the statement as the database does: each key is within one string. */
static void check_quoted(struct slice sql, const struct spots *s)
{
    char open = 0;
    size_t spot = 0;

    for (size_t i = 0; i <= sql.n; i++) {
        for (; spot < s->n && s->at[spot].end == i; spot++)
            MTA_ASSERT(open == '\'');
        if (i == sql.n)
            break;
        if (spot < s->n && i >= s->at[spot].start)
            MTA_ASSERT(open == '\'');
        if (open != 0 && sql.p[i] == '\\' && !s->sqlite && open != '`')
            i++;
        else if (open != 0 && sql.p[i] == open && i + 1 < sql.n && sql.p[i + 1] == open)
            i++;
        else if (open != 0 && sql.p[i] == open)
            open = 0;
        else if (open == 0 && strchr("'\"`", sql.p[i]) != NULL)
            open = sql.p[i];
    }
}

static void check_statement(const struct query_file *q, struct slice key, bool sqlite)
{
    struct spots spots = {.sqlite = sqlite};
    struct buf sql = {.max = 0};

    if (!query_template_qualifies(q->templates, key))
        return;
    query_template_expand(q->templates, key, quote, &spots, &sql);
    if (query_template_is_quoted(q->templates))
        check_quoted(buf_slice(&sql), &spots);
    buf_release(&sql);
}

/* ---- answers ---- */

static void check_answer(const struct query_file *q, struct slice key)
{
    struct query_answer answer = {.file = q, .key = key};
    const struct slice values[] = {key, SLICE_LIT("a@b.example"), SLICE_EMPTY, SLICE_LIT(""), SLICE_LIT("x"), key};

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        size_t before = buf_len(&answer.text), count = answer.count;

        if (!query_answer_add(&answer, values[i])) {
            MTA_ASSERT(answer.error != NULL);
            break;
        }
        MTA_ASSERT(answer.error == NULL && buf_len(&answer.text) >= before && buf_len(&answer.text) <= TABLE_VALUE_MAX);
        MTA_ASSERT(values[i].n > 0 || buf_len(&answer.text) == before);
        MTA_ASSERT(q->expansion_limit == 0 || answer.count <= q->expansion_limit);
        MTA_ASSERT(answer.count == count || answer.count == count + 1);
    }
    buf_release(&answer.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size), key;
    bool sqlite = fuzz_byte(&in) & 1;
    const struct file_source_kind *kind = sqlite ? &query_file_sqlite : &query_file_mysql;
    struct buf report = {.max = 0};
    size_t eol = slice_find(in, '\n');
    struct query_file *q;

    key = slice_head(in, eol);
    in = slice_from(in, eol == SLICE_NOT_FOUND ? in.n : eol + 1);
    q = kind->parse("fuzz.cf", in, &report);
    if (q == NULL) {
        MTA_ASSERT(buf_len(&report) > 0);
    } else {
        check_printed(q, kind, sqlite);
        check_statement(q, key, sqlite);
        check_answer(q, key);
        query_file_unref(&q);
    }
    buf_release(&report);
    return 0;
}

/*
 * The queue as text and as JSON: see queue_list.h. Called by core/cli.c, in a process of its own. JSON is made by
 * SQLite, which escapes everything but malformed UTF-8; that is mended here.
 */
#include "core/queue/queue_list.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "core/base/id.h"
#include "core/queue/queue_sql_int.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#define BATCH     500u           /* messages read in one snapshot */
#define TEXT_MOST (256u * 1024u) /* what waits to be written in the meantime */
#define WIDTH     76             /* reasons end at this column */

struct listing {
    struct queue_sql *db;
    const struct form *form;
    FILE *out;
    struct buf text; /* not written yet */
    struct buf word;
    struct buf reason; /* the one printed last of this message */
    uint64_t messages, bytes;
    size_t rcpts; /* of this message */
};

/* How a list looks. The first two columns of `messages` are qid and size. */
struct form {
    enum queue_statement messages, rcpts;
    void (*message)(struct listing *, sqlite3_stmt *);
    void (*rcpt)(struct listing *, sqlite3_stmt *);
    void (*message_end)(struct listing *);
    void (*end)(struct listing *);
};

static struct slice column(sqlite3_stmt *s, int at)
{
    const unsigned char *text = sqlite3_column_text(s, at);

    return slice_make(text, text == NULL ? 0 : (size_t)sqlite3_column_bytes(s, at));
}

/* ---- text ---- */

static void add_printable(struct listing *l, struct slice s)
{
    size_t before = buf_len(&l->text);

    buf_add_slice(&l->text, s);
    codec_printable(l->text.data + l->text.start + before, s.n, true);
}

static void add_address(struct listing *l, struct slice address)
{
    buf_clear(&l->word);
    addr_quote(&l->word, address);
    add_printable(l, buf_slice(&l->word));
}

static void text_message(struct listing *l, sqlite3_stmt *s)
{
    time_t arrival = (time_t)(sqlite3_column_int64(s, 2) / 1000000);
    struct slice sender = column(s, 3);
    char id[ID_TEXT], when[32] = "";
    struct tm tm;

    if (localtime_r(&arrival, &tm) != NULL)
        strftime(when, sizeof when, "%a %b %e %H:%M:%S", &tm);
    if (l->messages == 0)
        buf_printf(&l->text, "%-17s %8s %-19s %s\n", "----Queue ID-----", "--Size--", "---Arrival Time----",
                   "--Sender/Recipient------");
    else
        buf_add_char(&l->text, '\n');
    buf_printf(&l->text, "%-17s %8lld %-19s ", id_format(id, (uint64_t)sqlite3_column_int64(s, 0)),
               (long long)sqlite3_column_int64(s, 1), when);
    add_address(l, sender.n > 0 ? sender : SLICE_LIT("MAILER-DAEMON"));
    buf_add_char(&l->text, '\n');
    buf_clear(&l->reason);
}

/* A reason stands before the recipients that have it in common. */
static void text_rcpt(struct listing *l, sqlite3_stmt *s)
{
    struct slice reason = column(s, 1);

    if (!slice_eq(reason, buf_slice(&l->reason))) {
        buf_clear(&l->reason);
        buf_add_slice(&l->reason, reason);
        if (reason.n == 0)
            reason = SLICE_LIT("not tried yet");
        buf_printf(&l->text, "%*s(", reason.n < WIDTH ? (int)(WIDTH - reason.n) : 0, "");
        add_printable(l, reason);
        buf_add_str(&l->text, ")\n");
    }
    buf_printf(&l->text, "%47s", "");
    add_address(l, column(s, 0));
    buf_add_char(&l->text, '\n');
}

static void text_message_end(struct listing *l)
{
    (void)l;
}

static void text_end(struct listing *l)
{
    if (l->messages == 0)
        buf_add_str(&l->text, "Mail queue is empty\n");
    else
        buf_printf(&l->text, "\n-- %" PRIu64 " Kbytes in %" PRIu64 " Request%s.\n", l->bytes / 1024, l->messages,
                   l->messages == 1 ? "" : "s");
}

/* ---- JSON ---- */

/* JSON text as SQLite made it, with U+FFFD for each byte that belongs to no character. */
static void add_json(struct listing *l, struct slice json)
{
    while (json.n > 0) {
        size_t good = 0, n;

        while (good < json.n && (n = (unsigned char)json.p[good] < 128 ? 1 : codec_utf8_length(slice_from(json, good))))
            good += n;
        buf_add(&l->text, json.p, good);
        json = slice_from(json, good);
        if (json.n > 0)
            buf_add_str(&l->text, "\xef\xbf\xbd");
        json = slice_from(json, 1);
    }
}

static void json_message(struct listing *l, sqlite3_stmt *s)
{
    struct slice json = column(s, 2);
    char id[ID_TEXT];

    buf_printf(&l->text, "{\"queue_id\":\"%s\",", id_format(id, (uint64_t)sqlite3_column_int64(s, 0)));
    add_json(l, slice_make(json.p + 1, json.n - 2)); /* without its braces */
    buf_add_str(&l->text, ",\"recipients\":[");
}

static void json_rcpt(struct listing *l, sqlite3_stmt *s)
{
    if (l->rcpts > 0)
        buf_add_char(&l->text, ',');
    add_json(l, column(s, 0));
}

static void json_message_end(struct listing *l)
{
    buf_add_str(&l->text, "]}\n");
}

static void json_end(struct listing *l)
{
    (void)l;
}

/* ---- walking ---- */

static const struct form forms[] = {
    [QUEUE_LIST_TEXT] = {QUEUE_SQL_LIST_MESSAGES, QUEUE_SQL_LIST_RCPTS, text_message, text_rcpt, text_message_end,
                         text_end},
    [QUEUE_LIST_JSON] = {QUEUE_SQL_LIST_JSON, QUEUE_SQL_LIST_JSON_RCPTS, json_message, json_rcpt, json_message_end,
                         json_end},
};

static bool flush(struct listing *l, struct status *why)
{
    struct slice text = buf_slice(&l->text);
    bool ok = text.n == 0 || (fwrite(text.p, 1, text.n, l->out) == text.n && fflush(l->out) == 0);

    if (!ok)
        *why = status_make(STATUS_SYSTEM, "cannot write: %s", strerror(errno));
    buf_clear(&l->text);
    return ok;
}

static bool cannot_read(const struct listing *l, struct status *why)
{
    *why = status_make(STATUS_QUEUE_CORRUPT, "the queue database cannot be read: %s", queue_sql_detail(l->db));
    return false;
}

static bool list_rcpts(struct listing *l, uint64_t qid, struct status *why)
{
    sqlite3_stmt *s = QUERY(l->db, l->form->rcpts, INT(qid));
    bool ok = true;
    int got = 0;

    for (l->rcpts = 0; ok && (got = queue_sql_next(l->db, s)) > 0; l->rcpts++) {
        l->form->rcpt(l, s);
        ok = buf_len(&l->text) < TEXT_MOST || flush(l, why);
    }
    if (got > 0)
        sqlite3_reset(s);
    return ok && (got == 0 || cannot_read(l, why));
}

/* Lists at most BATCH messages from *from to `last`; *from is the next then, or 0 when there are no more. */
static bool list_batch(struct listing *l, uint64_t *from, uint64_t last, struct status *why)
{
    sqlite3_stmt *s = QUERY(l->db, l->form->messages, INT(*from), INT(last), INT(BATCH));
    uint64_t before = l->messages;
    bool ok = true;
    int got = 0;

    while (ok && (got = queue_sql_next(l->db, s)) > 0) {
        uint64_t qid = (uint64_t)sqlite3_column_int64(s, 0);

        l->form->message(l, s);
        ok = list_rcpts(l, qid, why);
        l->form->message_end(l);
        l->messages++;
        l->bytes += (uint64_t)sqlite3_column_int64(s, 1);
        *from = qid + 1;
    }
    if (got > 0)
        sqlite3_reset(s);
    if (l->messages - before < BATCH)
        *from = 0;
    return ok && (got == 0 || cannot_read(l, why));
}

/* The messages from `from` to `last`, a snapshot for each batch; nothing is written while one is held. */
static bool list_all(struct listing *l, uint64_t from, uint64_t last, struct status *why)
{
    bool ok = true;

    while (ok && from > 0) {
        ok = queue_sql_begin(l->db) || cannot_read(l, why);
        ok = ok && list_batch(l, &from, last, why);
        queue_sql_rollback(l->db);
        ok = ok && flush(l, why);
    }
    return ok;
}

static bool listing_open(struct listing *l, const char *directory, struct status *why)
{
    char *path = mem_printf("%s/queue.db", directory);

    tzset();
    l->db = queue_sql_open_viewer(path, why);
    mem_free(path);
    return l->db != NULL;
}

static void listing_close(struct listing *l)
{
    queue_sql_close(&l->db);
    buf_release(&l->text);
    buf_release(&l->word);
    buf_release(&l->reason);
}

bool queue_list(const char *directory, enum queue_list_form form, FILE *out, struct status *why)
{
    struct listing l = {.form = &forms[form], .out = out};
    bool ok = listing_open(&l, directory, why) && list_all(&l, 1, INT64_MAX, why);

    if (ok) {
        l.form->end(&l);
        ok = flush(&l, why);
    }
    listing_close(&l);
    return ok;
}

/* ---- one message ---- */

static bool show_content(struct listing *l, uint64_t qid, struct status *why)
{
    struct arena arena = {0};
    struct queue_piece piece = {0};
    bool ok = true, message, content;

    for (unsigned i = 0; ok && !piece.last; i++) {
        ok = queue_sql_read(l->db, &arena, qid, i, &piece, &message, &content) || cannot_read(l, why);
        if (ok && !(message && content)) {
            *why = status_make(STATUS_SYSTEM, "the message has just left the queue");
            ok = false;
        }
        ok = ok && buf_add_slice(&l->text, piece.bytes) && flush(l, why);
        arena_clear(&arena);
    }
    return ok;
}

bool queue_show(const char *directory, uint64_t qid, FILE *out, struct status *why)
{
    struct listing l = {.form = &forms[QUEUE_LIST_TEXT], .out = out};
    bool ok = listing_open(&l, directory, why) && list_all(&l, qid, qid, why);

    if (ok && l.messages == 0) {
        char id[ID_TEXT];

        *why = status_make(STATUS_SYSTEM, "there is no message %s in the queue", id_format(id, qid));
        ok = false;
    }
    ok = ok && buf_add_char(&l.text, '\n') && show_content(&l, qid, why);
    listing_close(&l);
    return ok;
}

/*
 * Delivery reports: proto/grammar/dsn.h. Whatever is in addresses, parameters and diagnostic texts, the report is lines
 * of at most 998 printable bytes, with the headers, parts and groups of fields that it is to have and no others.
 *
 * Input: two characters of options; then fields, each up to a NUL: sender, To:, ENVID; and for each recipient a
 * character of options in front of its address, the original address, ORCPT, text and remote host.
 */
#include "fuzz/fuzz.h"

#include "proto/grammar/dsn.h"

#define LINE_MAX_BYTES 998
#define RCPTS_MOST     8

/* Of the report. */
#define OPTION_UTF8         1
#define OPTION_HEADERS_ONLY 2
#define OPTION_8BIT         4
#define OPTION_TO           8
#define OPTION_ENVID        16
/* Of a recipient. */
#define RCPT_ORIG   8
#define RCPT_ORCPT  16
#define RCPT_REMOTE 32

/* The names of a header section or a group of fields, and how often each has been there. */
struct names {
    const char *const *known;
    size_t n;
    unsigned seen[16];
};

static const char *const header_names[] = {
    "From",         "To",           "Subject",
    "Date",         "Message-Id",   "Auto-Submitted",
    "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
};
static const char *const message_names[] = {
    "Reporting-MTA", "X-mta-Queue-ID", "Arrival-Date", "Original-Envelope-Id", "X-mta-Sender",
};
static const char *const rcpt_names[] = {
    "Final-Recipient", "Action", "Status", "Diagnostic-Code", "Original-Recipient", "Remote-MTA", "Will-Retry-Until",
};
static const char *const part_names[] = {"Content-Description", "Content-Type", "Content-Transfer-Encoding"};

/* ---- reading the report ---- */

static struct slice take_line(struct slice *rest)
{
    size_t eol = slice_find(*rest, '\n');
    struct slice line = slice_head(*rest, eol);

    MTA_ASSERT(eol != SLICE_NOT_FOUND);
    *rest = slice_from(*rest, eol + 1);
    return line;
}

/* The lines up to the next empty one are known fields and their continuations; the first `must` are there once. */
static void check_fields(struct slice *rest, const char *const *known, size_t n, size_t must)
{
    struct names names = {known, n, {0}};
    struct slice line;
    bool any = false;

    while (rest->n > 0 && (line = take_line(rest)).n > 0) {
        size_t i = 0;

        if (line.p[0] == ' ' || line.p[0] == '\t') {
            MTA_ASSERT(any && slice_trim(line).n > 0);
            continue;
        }
        any = true;
        line = slice_head(line, slice_find(line, ':'));
        while (i < n && !slice_eq(line, slice_str(names.known[i])))
            i++;
        MTA_ASSERT(i < n && names.seen[i]++ == 0);
    }
    for (size_t i = 0; i < must; i++)
        MTA_ASSERT(names.seen[i] == 1);
}

static void check_lines(struct slice text, bool utf8)
{
    while (text.n > 0) {
        struct slice line = take_line(&text);

        MTA_ASSERT(line.n <= LINE_MAX_BYTES && (utf8 || !codec_has_8bit(line)) && codec_utf8_valid(line));
        for (size_t i = 0; i < line.n; i++)
            MTA_ASSERT(line.p[i] == '\t' || ((unsigned char)line.p[i] >= 32 && line.p[i] != 127));
    }
}

/* Skips to the next boundary; the lines before it are counted in. */
static void next_part(struct slice *rest, const char *boundary, bool closing)
{
    struct buf delimiter = {.max = 0};
    bool found = false;

    buf_printf(&delimiter, "--%s", boundary);
    while (!found) {
        struct slice line = take_line(rest);

        found = slice_starts(line, buf_slice(&delimiter));
        if (found)
            MTA_ASSERT(line.n == buf_len(&delimiter) + (closing ? 2 : 0));
    }
    buf_release(&delimiter);
}

static void check_report(struct slice text, const struct dsn_report *r)
{
    struct slice rest = text;

    check_lines(text, r->smtputf8);
    check_fields(&rest, header_names, ARRAY_LEN(header_names), 8);
    next_part(&rest, r->boundary, false);
    check_fields(&rest, part_names, ARRAY_LEN(part_names), 2);
    next_part(&rest, r->boundary, false);
    check_fields(&rest, part_names, ARRAY_LEN(part_names), 2);
    check_fields(&rest, message_names, ARRAY_LEN(message_names), 3);
    for (size_t i = 0; i < r->nrcpts; i++)
        check_fields(&rest, rcpt_names, ARRAY_LEN(rcpt_names), 4);
    next_part(&rest, r->boundary, false);
    check_fields(&rest, part_names, ARRAY_LEN(part_names), 2);
    MTA_ASSERT(slice_starts(rest, SLICE_LIT("Subject: original\n")));
    next_part(&rest, r->boundary, true);
    MTA_ASSERT(rest.n == 0);
}

/* ---- making it ---- */

/* Takes a field off the input, as a C string in the arena. */
static const char *field(struct slice *in, struct arena *arena)
{
    size_t end = slice_find(*in, '\0');
    const char *text = arena_slice_dup(arena, slice_head(*in, end));

    *in = slice_from(*in, end == SLICE_NOT_FOUND ? in->n : end + 1);
    return text ? text : "";
}

static struct dsn_recipient recipient(struct slice *in, struct arena *arena)
{
    unsigned options = fuzz_byte(in);
    struct dsn_recipient r = {
        .action = (enum dsn_action)((options & 7) % (DSN_ACTION_EXPANDED + 1)),
        .status = "5.1.1",
    };

    r.addr = field(in, arena);
    r.orig = field(in, arena);
    r.orcpt = field(in, arena);
    r.text = field(in, arena);
    r.remote_mta = field(in, arena);
    if (!(options & RCPT_ORIG))
        r.orig = NULL;
    if (!(options & RCPT_ORCPT) || strchr(r.orcpt, ';') == NULL)
        r.orcpt = NULL;
    if (!(options & RCPT_REMOTE))
        r.remote_mta = NULL;
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    unsigned options = fuzz_byte(&in), kind = fuzz_byte(&in);
    struct arena arena = {0};
    struct dsn_recipient rcpts[RCPTS_MOST];
    struct buf boundary = {.max = 0}, text = {.max = 0};
    struct dsn_report r = {
        .kind = (enum dsn_kind)(kind % (DSN_KIND_DELAY_COPY + 1)),
        .myhostname = "mail.example.com",
        .mail_name = "mta",
        .origin = "example.com",
        .message_id = "<x@mail.example.com>",
        .now_us = 1795373582000000,
        .qid = "4ZABCDEF00",
        .arrival_us = 1795373582000000,
        .retry_until_us = 1795473582000000,
        .rcpts = rcpts,
        .headers_only = options & OPTION_HEADERS_ONLY,
        .body_8bit = options & OPTION_8BIT,
        .smtputf8 = options & OPTION_UTF8,
    };

    r.sender = field(&in, &arena);
    r.to = field(&in, &arena);
    r.envid = field(&in, &arena);
    r.to = options & OPTION_TO ? r.to : NULL;
    r.envid = options & OPTION_ENVID ? r.envid : NULL;
    do
        rcpts[r.nrcpts++] = recipient(&in, &arena);
    while (in.n > 0 && r.nrcpts < RCPTS_MOST);
    dsn_boundary(&boundary, r.qid, r.now_us, r.myhostname);
    r.boundary = buf_cstr(&boundary);
    MTA_ASSERT(strlen(r.boundary) <= 70);
    dsn_write_head(&text, &r);
    buf_add_str(&text, "Subject: original\n\nbody\n");
    dsn_write_tail(&text, &r);
    check_report(buf_slice(&text), &r);
    buf_release(&text);
    buf_release(&boundary);
    arena_clear(&arena);
    return 0;
}

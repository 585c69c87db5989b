/*
 * The client's side of SMTP: replies of servers (proto/grammar/smtp_answer.h), content on its way to them
 * (smtp_content.h), 8-bit mail made 7-bit (mime_encode.h). What comes in pieces is what comes whole; the content can be
 * taken apart again, and there is one end of data in it.
 *
 * Input: 'a' answer, 'c' content or 'm' mail; the size of the pieces; the rest.
 */
#include "fuzz/fuzz.h"

#include "proto/grammar/mime_encode.h"
#include "proto/grammar/smtp_answer.h"
#include "proto/grammar/smtp_content.h"

/* ---- answers ---- */

static void check_answer(const struct smtp_answer *a)
{
    struct slice rest = slice_make(a->text, a->text_n), line;

    MTA_ASSERT(a->text_n <= SMTP_ANSWER_KEPT && a->text[a->text_n] == '\0' && strlen(a->text) == a->text_n);
    if (a->state != SMTP_ANSWER_DONE)
        return;
    MTA_ASSERT(a->code >= 200 && a->code <= 599);
    MTA_ASSERT(a->dsn[0] == '0' + a->code / 100 && smtp_answer_dsn(slice_str(a->dsn), a->dsn[0]) == strlen(a->dsn));
    while (smtp_answer_line(&rest, &line))
        MTA_ASSERT(slice_find(line, '\n') == SLICE_NOT_FOUND);
}

/* Takes the whole input in pieces; what became of it, and how many answers there were. */
static size_t feed_answers(struct smtp_answer *a, struct slice in, size_t piece)
{
    size_t answers = 0;

    while (in.n > 0 && a->state != SMTP_ANSWER_BAD) {
        size_t used = 0;
        struct slice part = slice_head(in, piece);
        enum smtp_answer_state state = smtp_answer_feed(a, part, &used);

        MTA_ASSERT(used > 0 && used <= part.n && state == a->state);
        MTA_ASSERT(state != SMTP_ANSWER_MORE || used == part.n);
        check_answer(a);
        answers += state == SMTP_ANSWER_DONE;
        in = slice_from(in, used);
    }
    return answers;
}

static void fuzz_answers(struct slice in, size_t piece)
{
    struct smtp_answer *whole = NEW(struct smtp_answer), *pieces = NEW(struct smtp_answer);

    MTA_ASSERT(feed_answers(whole, in, SIZE_MAX) == feed_answers(pieces, in, piece));
    MTA_ASSERT(whole->state == pieces->state && whole->text_n == pieces->text_n);
    MTA_ASSERT(memcmp(whole->text, pieces->text, whole->text_n) == 0);
    mem_free(whole);
    mem_free(pieces);
}

/* ---- content ---- */

static void encode(struct slice in, size_t piece, size_t limit, bool bare, struct buf *out)
{
    struct smtp_content c = {.bare = bare, .line_limit = limit};

    for (; in.n > 0; in = slice_from(in, piece))
        smtp_content_feed(&c, slice_head(in, piece), out);
    smtp_content_end(&c, out);
}

/* As a server takes it apart; no line is the end of data but the last. */
static void decode(struct slice wire, size_t limit, struct buf *out)
{
    while (wire.n > 0) {
        size_t end = slice_find(wire, '\n');
        struct slice line = slice_head(wire, end);

        MTA_ASSERT(end != SLICE_NOT_FOUND && line.n > 0 && line.p[line.n - 1] == '\r');
        line.n--;
        wire = slice_from(wire, end + 1);
        MTA_ASSERT(slice_eq(line, SLICE_LIT(".")) == (wire.n == 0));
        if (wire.n == 0)
            break;
        if (slice_starts(line, SLICE_LIT(".")))
            line = slice_from(line, 1);
        MTA_ASSERT(limit == 0 || line.n <= (limit > 1 ? limit : 2));
        buf_add_slice(out, line);
        buf_add_char(out, '\n');
    }
}

static void fuzz_content(struct slice in, size_t piece)
{
    size_t limit = fuzz_byte(&in) % 64;
    struct buf whole = {0}, pieces = {0}, back = {0};

    encode(in, SIZE_MAX, limit, false, &whole);
    decode(buf_slice(&whole), limit, &back);
    encode(in, piece, limit, false, &pieces);
    if (limit == 0) { /* a break in a UTF-8 sequence depends on the pieces */
        MTA_ASSERT(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
        MTA_ASSERT(buf_len(&back) - in.n <= 1 && slice_eq(slice_head(buf_slice(&back), in.n), in));
    }
    buf_clear(&back);
    decode(buf_slice(&pieces), limit, &back);
    buf_clear(&pieces);
    encode(in, piece, limit, true, &pieces);
    MTA_ASSERT(in.n == 0 || buf_len(&pieces) >= in.n);
    buf_release(&whole);
    buf_release(&pieces);
    buf_release(&back);
}

/* ---- 8-bit mail ---- */

static void convert(struct slice in, size_t piece, struct buf *out)
{
    struct mime_encode *m = mime_encode_new();

    for (; in.n > 0; in = slice_from(in, piece))
        mime_encode_feed(m, slice_head(in, piece), out);
    mime_encode_end(m, out);
    mime_encode_free(&m);
}

static void fuzz_mail(struct slice in, size_t piece)
{
    struct buf whole = {0}, pieces = {0};

    convert(in, SIZE_MAX, &whole);
    convert(in, piece, &pieces);
    MTA_ASSERT(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    MTA_ASSERT(buf_len(&whole) <= 4 * in.n + 100);
    buf_release(&whole);
    buf_release(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    unsigned what = fuzz_byte(&in);
    size_t piece = fuzz_byte(&in) % 32 + 1;
    char *memory;

    in = fuzz_copy(in, &memory);
    if (what == 'c')
        fuzz_content(in, piece);
    else if (what == 'm')
        fuzz_mail(in, piece);
    else
        fuzz_answers(in, piece);
    mem_free(memory);
    return 0;
}

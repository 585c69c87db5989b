/*
 * Replies of servers: see smtp_answer.h. Called by the SMTP and LMTP client for each chunk of input; owns nothing.
 * As lenient as Postfix: a reply without text ("250" and the end of the line), lines that end in a bare LF, an enhanced
 * code of another class (ignored), lines of any length.
 */
#include "proto/grammar/smtp_answer.h"

static size_t digits(struct slice s, size_t at)
{
    size_t n = 0;

    while (n < 3 && at + n < s.n && ascii_digit(s.p[at + n]))
        n++;
    return n;
}

size_t smtp_answer_dsn(struct slice s, char class)
{
    size_t subject, detail, end;

    if (s.n < 5 || s.p[0] != class || s.p[1] != '.')
        return 0;
    subject = digits(s, 2);
    if (subject == 0 || 2 + subject >= s.n || s.p[2 + subject] != '.')
        return 0;
    detail = digits(s, 3 + subject);
    end = 3 + subject + detail;
    return detail > 0 && (end == s.n || ascii_space(s.p[end])) ? end : 0;
}

bool smtp_answer_line(struct slice *rest, struct slice *line)
{
    size_t end = slice_find(*rest, '\n');

    if (rest->n == 0)
        return false;
    *line = slice_from(slice_head(*rest, end), 4);
    *rest = end == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(*rest, end + 1);
    return true;
}

static void keep(struct smtp_answer *a, char c)
{
    if (a->text_n < SMTP_ANSWER_KEPT)
        a->text[a->text_n++] = c == '\0' ? '?' : c;
}

/* Three digits, the first 2 to 5, then a hyphen, a space or nothing. */
static bool head_good(const struct smtp_answer *a)
{
    const char *h = a->head;

    if (a->line_n < 3 || h[0] < '2' || h[0] > '5' || !ascii_digit(h[1]) || !ascii_digit(h[2]))
        return false;
    return a->line_n == 3 || h[3] == ' ' || h[3] == '-' || h[3] == '\t';
}

static void end_line(struct smtp_answer *a)
{
    struct slice text;
    size_t n;

    while (a->text_n > a->line_at && a->text[a->text_n - 1] == '\r')
        a->text_n--;
    if (a->line_n == 4 && a->head[3] == '\r')
        a->line_n = 3;
    if (!head_good(a)) {
        a->state = SMTP_ANSWER_BAD;
        return;
    }
    a->code = (a->head[0] - '0') * 100 + (a->head[1] - '0') * 10 + (a->head[2] - '0');
    text = slice_from(slice_make(a->text + a->line_at, a->text_n - a->line_at), 4);
    n = smtp_answer_dsn(text, a->head[0]);
    if (n > 0 && text.p != NULL) {
        memcpy(a->dsn, text.p, n);
        a->dsn[n] = '\0';
        a->has_dsn = true;
    }
    a->state = a->line_n > 3 && a->head[3] == '-' ? SMTP_ANSWER_MORE : SMTP_ANSWER_DONE;
    a->line_n = 0;
    if (a->state == SMTP_ANSWER_MORE)
        keep(a, '\n');
    a->line_at = a->text_n;
}

static void take(struct smtp_answer *a, char c)
{
    if (++a->seen > SMTP_ANSWER_MOST) {
        a->state = SMTP_ANSWER_BAD;
    } else if (c == '\n') {
        end_line(a);
    } else {
        keep(a, c);
        if (a->line_n < 4)
            a->head[a->line_n++] = c;
    }
}

static void begin(struct smtp_answer *a)
{
    a->code = 0;
    a->dsn[0] = '\0';
    a->has_dsn = false;
    a->text_n = a->line_n = a->line_at = a->seen = 0;
    a->state = SMTP_ANSWER_MORE;
}

enum smtp_answer_state smtp_answer_feed(struct smtp_answer *a, struct slice in, size_t *used)
{
    if (a->state != SMTP_ANSWER_MORE)
        begin(a);
    for (*used = 0; *used < in.n && a->state == SMTP_ANSWER_MORE;)
        take(a, in.p[(*used)++]);
    a->text[a->text_n] = '\0';
    if (a->state != SMTP_ANSWER_DONE)
        return a->state;
    a->has_dsn = a->has_dsn && a->dsn[0] == '0' + a->code / 100; /* earlier lines may have had another code */
    if (!a->has_dsn)
        memcpy(a->dsn, (char[]){(char)('0' + a->code / 100), '.', '0', '.', '0', '\0'}, 6);
    return a->state;
}

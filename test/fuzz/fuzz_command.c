/*
 * Command lines and replies: proto/grammar/smtp_cmd.h and smtp_reply.h. A line that is taken apart and put together
 * again is the same command; whatever the text, a reply is lines of printable text with one code.
 *
 * Input: the line of a client; and the same bytes as the text of a reply.
 */
#include "fuzz/fuzz.h"

#include "proto/grammar/smtp_cmd.h"
#include "proto/grammar/smtp_reply.h"

static void check_keyword(struct slice args, const char *keyword)
{
    struct slice path;

    if (!smtp_cmd_keyword(args, keyword, &path))
        return;
    MTA_ASSERT(fuzz_within(path, args) && slice_trim(path).n == path.n);
    MTA_ASSERT(slice_istarts(args, slice_str(keyword)));
}

static void check_command(struct slice line)
{
    struct smtp_cmd cmd, again;
    enum smtp_cmd_result result = smtp_cmd_parse(line, &cmd);
    struct buf text = {0};

    if (result != SMTP_CMD_OK) {
        MTA_ASSERT(cmd.verb.n == 0 && cmd.args.n == 0);
        MTA_ASSERT(result != SMTP_CMD_EMPTY || slice_trim(line).n == 0);
        return;
    }
    MTA_ASSERT(cmd.verb.n > 0 && fuzz_within(cmd.verb, line) && fuzz_within(cmd.args, line));
    MTA_ASSERT(slice_find(cmd.verb, ' ') == SLICE_NOT_FOUND && slice_find(cmd.verb, '\t') == SLICE_NOT_FOUND);
    MTA_ASSERT(slice_trim(cmd.args).n == cmd.args.n);
    check_keyword(cmd.args, "FROM");
    check_keyword(cmd.args, "TO");
    buf_add_slice(&text, cmd.verb);
    buf_add_char(&text, ' ');
    if (cmd.args.n > 0)
        buf_add_slice(&text, cmd.args);
    MTA_ASSERT(smtp_cmd_parse(buf_slice(&text), &again) == SMTP_CMD_OK);
    MTA_ASSERT(slice_eq(again.verb, cmd.verb) && slice_eq(again.args, cmd.args));
    buf_release(&text);
}

/* One reply: `lines` lines (0: any number) that begin with the code, the last and only the last with a space. */
static void check_reply(struct slice reply, size_t lines)
{
    size_t n = 0;
    bool last = false;

    while (reply.n > 0) {
        size_t eol = slice_find(reply, '\n');
        struct slice line = slice_head(reply, eol);

        MTA_ASSERT(eol != SLICE_NOT_FOUND && eol > 4 && line.p[eol - 1] == '\r' && !last);
        line.n--;
        MTA_ASSERT(line.n <= SMTP_REPLY_LINE_MAX && fuzz_clean(line) && slice_starts(line, SLICE_LIT("550")));
        MTA_ASSERT(line.p[3] == ' ' || line.p[3] == '-');
        last = line.p[3] == ' ';
        reply = slice_from(reply, eol + 1);
        n++;
    }
    MTA_ASSERT(last && (lines == 0 || n == lines));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    char *text = mem_dup(size > 0 ? (const void *)data : "", size);
    struct status status = status_reply(STATUS_SYNTAX, 550, "5.7.1", "%s", text);
    struct buf reply = {0};

    check_command(in);
    smtp_reply(&reply, 550, "5.1.1", text);
    check_reply(buf_slice(&reply), 0);
    buf_clear(&reply);
    smtp_reply_line(&reply, 550, true, NULL, in);
    check_reply(buf_slice(&reply), 1);
    buf_clear(&reply);
    smtp_reply_status(&reply, &status);
    check_reply(buf_slice(&reply), 1);
    buf_release(&reply);
    mem_free(text);
    return 0;
}

/* Command lines: see smtp_cmd.h. Called by the SMTP server for each line of a client. RFC 5321 section 4.1.1. */
#include "proto/grammar/smtp_cmd.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

enum smtp_cmd_result smtp_cmd_parse(struct slice line, struct smtp_cmd *cmd)
{
    struct slice text = slice_trim(line);

    *cmd = (struct smtp_cmd){SLICE_EMPTY, SLICE_EMPTY};
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '\0' || line.p[i] == '\r' || line.p[i] == '\n')
            return SMTP_CMD_BAD_BYTES;
    if (text.n == 0)
        return SMTP_CMD_EMPTY;
    cmd->verb = text;
    for (cmd->verb.n = 0; cmd->verb.n < text.n && !is_blank(text.p[cmd->verb.n]);)
        cmd->verb.n++;
    cmd->args = slice_trim(slice_from(text, cmd->verb.n));
    return SMTP_CMD_OK;
}

bool smtp_cmd_keyword(struct slice args, const char *keyword, struct slice *path)
{
    struct slice word = slice_str(keyword);

    if (!slice_istarts(args, word) || args.n == word.n || args.p[word.n] != ':')
        return false;
    *path = slice_trim(slice_from(args, word.n + 1));
    return true;
}

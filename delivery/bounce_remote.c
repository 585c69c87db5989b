/* The server and its reply in the text of a result: see bounce_remote.h. Called by bounce.c; owns nothing. */
#include "delivery/bounce_remote.h"

#include "core/base/assert.h"
#include "core/base/slice.h"

#include <string.h>

/* The three digits, and what follows them. */
static bool is_reply(const char *text)
{
    return text[0] >= '2' && text[0] <= '5' && ascii_digit(text[1]) && ascii_digit(text[2]) &&
           (text[3] == ' ' || text[3] == '-');
}

/* Where the words that follow the reply begin; the reply may hold the same words, so the last ones count. */
static size_t reply_length(const char *reply)
{
    static const char after[] = " (in reply to ";
    const char *end = NULL;

    for (const char *at = reply; (at = strstr(at, after)) != NULL; at++)
        end = at;
    return end != NULL ? (size_t)(end - reply) : strlen(reply);
}

bool bounce_remote(struct arena *a, const char *text, const char **host, const char **reply)
{
    static const char *const verbs[] = {" said: ", " refused to talk to me: "};
    const char *name, *said = NULL;
    size_t n, bracket;

    if (strncmp(text, "host ", strlen("host ")) != 0)
        return false;
    name = text + strlen("host ");
    n = strcspn(name, " ");
    bracket = strcspn(name, "[");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strncmp(name + n, verbs[i], strlen(verbs[i])) == 0)
            said = name + n + strlen(verbs[i]);
    if (said == NULL || bracket == 0 || bracket >= n || !is_reply(said))
        return false;
    *host = arena_slice_dup(a, slice_make(name, bracket));
    *reply = arena_slice_dup(a, slice_make(said, reply_length(said)));
    return true;
}

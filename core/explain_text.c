/* The answer of `mta explain` for people: see explain_int.h. Called by explain.c. */
#include "core/explain_int.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"

#define TABLE_SHOWN 48 /* bytes of a table's name: an inline: table is all in its name */

json_t *explain_string(const char *text)
{
    char *clean = mem_strdup(text);
    json_t *s;

    codec_printable(clean, strlen(clean), true);
    s = json_string(clean);
    mem_free(clean);
    return s;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static bool has(const json_t *object, const char *key)
{
    return json_object_get(object, key) != NULL;
}

static void line(struct buf *out, const char *name, const json_t *object, const char *key)
{
    if (has(object, key))
        buf_printf(out, "  %-12s %s\n", name, text_of(object, key));
}

static void lookups(struct buf *out, const json_t *object, const char *indent)
{
    size_t i;
    json_t *l;

    json_array_foreach(json_object_get(object, "lookups"), i, l)
    {
        const char *table = text_of(l, "table");
        bool shown = strlen(table) <= TABLE_SHOWN;

        buf_printf(out, "%s%.*s%s  %s -> %s", indent, TABLE_SHOWN, table, shown ? "" : "...", text_of(l, "key"),
                   text_of(l, "result"));
        if (has(l, "value"))
            buf_printf(out, ": %s", text_of(l, "value"));
        if (has(l, "why"))
            buf_printf(out, ": %s", text_of(l, "why"));
        buf_add_char(out, '\n');
        if (has(l, "query"))
            buf_printf(out, "%s    %s\n", indent, text_of(l, "query"));
    }
}

static void session(struct buf *out, const json_t *s)
{
    size_t i;
    json_t *r;

    buf_add_str(out, "session\n");
    line(out, "EHLO", s, "ehlo");
    line(out, "MAIL", s, "mail");
    line(out, "RCPT", s, "rcpt");
    json_array_foreach(json_object_get(s, "restrictions"), i, r)
    {
        buf_printf(out, "    %-32s %-28s %s\n", text_of(r, "list"), text_of(r, "restriction"), text_of(r, "verdict"));
    }
    lookups(out, s, "    ");
}

static void aliases(struct buf *out, const json_t *a)
{
    size_t i, k;
    json_t *e, *to;

    if (json_array_size(json_object_get(a, "expansions")) == 0 && json_array_size(json_object_get(a, "lookups")) == 0)
        return;
    buf_add_str(out, "aliases\n");
    json_array_foreach(json_object_get(a, "expansions"), i, e)
    {
        buf_printf(out, "  %s ->", text_of(e, "address"));
        json_array_foreach(json_object_get(e, "results"), k, to)
        {
            buf_printf(out, "%s %s", k > 0 ? "," : "", json_string_value(to));
        }
        buf_add_char(out, '\n');
    }
    if (has(a, "error"))
        buf_printf(out, "  error: %s\n", text_of(a, "error"));
    lookups(out, a, "    ");
}

static void recipient(struct buf *out, const json_t *r)
{
    buf_printf(out, "recipient %s\n", text_of(r, "address"));
    line(out, "class", r, "class");
    line(out, "transport", r, "transport");
    line(out, "next hop", r, "nexthop");
    line(out, "command", r, "command");
    line(out, "error", r, "error");
    lookups(out, r, "    ");
}

void explain_text(const json_t *answer, struct buf *out)
{
    size_t i;
    json_t *r;

    buf_printf(out, "%s\n", text_of(answer, "address"));
    buf_printf(out, "  from <%s>, client %s, helo %s, listener %s\n", text_of(answer, "sender"),
               text_of(answer, "client"), text_of(answer, "helo"), text_of(answer, "listener"));
    line(out, "class", answer, "class");
    session(out, json_object_get(answer, "session"));
    aliases(out, json_object_get(answer, "aliases"));
    json_array_foreach(json_object_get(answer, "recipients"), i, r)
    {
        recipient(out, r);
    }
}

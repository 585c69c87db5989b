/*
 * Loop detection by Delivered-To: headers: see delivered.h. Called by pipe.c before a command is started. As in
 * Postfix the section ends at the first line that is neither a header nor the continuation of one, and only the first
 * line of a folded header is looked at. Owns the line it collects, which is bounded by what could match.
 */
#include "delivery/delivered.h"

#include "core/base/addr.h"

#define NAME_MAX_BYTES 256 /* of a line before its colon and around its value */

void delivered_init(struct delivered *d, const char *address)
{
    *d = (struct delivered){.first = true};
    addr_quote(&d->address, slice_str(address));
    d->line.max = buf_len(&d->address) + NAME_MAX_BYTES;
}

/* A header's name: printable ASCII without space (RFC 5322 section 2.2), blanks before the colon forgiven. */
static bool is_header(struct slice line, struct slice *name, struct slice *value)
{
    size_t colon = slice_find(line, ':');

    if (colon == SLICE_NOT_FOUND)
        return false;
    *name = slice_trim(slice_head(line, colon));
    *value = slice_trim(slice_from(line, colon + 1));
    for (size_t i = 0; i < name->n; i++)
        if (name->p[i] <= ' ' || name->p[i] > '~')
            return false;
    return name->n > 0;
}

static void end_line(struct delivered *d)
{
    struct slice line = buf_slice(&d->line), name, value;
    bool continues = !d->first && line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');

    if (!continues) {
        if (is_header(line, &name, &value))
            d->found =
                !d->too_long && slice_ieq(name, SLICE_LIT("Delivered-To")) && slice_ieq(value, buf_slice(&d->address));
        else
            d->over = true;
    }
    d->over = d->over || d->found;
    d->first = false;
    d->too_long = false;
    buf_clear(&d->line);
}

void delivered_feed(struct delivered *d, struct slice piece)
{
    while (!d->over && piece.n > 0) {
        size_t nl = slice_find(piece, '\n');
        struct slice part = slice_head(piece, nl);
        struct slice room = slice_head(part, buf_room(&d->line));

        buf_add_slice(&d->line, room);
        d->too_long = d->too_long || room.n < part.n;
        if (nl == SLICE_NOT_FOUND)
            return;
        end_line(d);
        piece = slice_from(piece, nl + 1);
    }
}

void delivered_release(struct delivered *d)
{
    buf_release(&d->address);
    buf_release(&d->line);
}

/*
 * Near misses: "did you mean". The distance is the number of letters to change, insert, leave out or swap with their
 * neighbour. Called for unknown names only; pure.
 */
#include "core/conf/conf_near.h"

#include "core/base/slice.h"

#define NAME_MOST 80u /* longer names are not compared */

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

static unsigned distance(struct slice a, struct slice b)
{
    unsigned rows[3][NAME_MOST + 1], *before = rows[0], *above = rows[1], *row = rows[2];

    for (unsigned j = 0; j <= b.n; j++)
        above[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        unsigned *reuse = before;

        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            unsigned differ = ascii_lower(a.p[i - 1]) != ascii_lower(b.p[j - 1]);

            row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + differ);
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        before = above;
        above = row;
        row = reuse;
    }
    return above[b.n];
}

void conf_near_try(struct conf_near *near, const char *candidate)
{
    struct slice a = slice_str(near->name), b = slice_str(candidate);
    unsigned d, enough = a.n < 4 ? 1 : a.n < 12 ? 2 : 3;

    if (a.n > NAME_MOST || b.n > NAME_MOST || a.n > b.n + enough || b.n > a.n + enough)
        return;
    d = distance(a, b);
    if (d <= enough && (near->best == NULL || d < near->distance)) {
        near->best = candidate;
        near->distance = d;
    }
}

/* What a reload cannot change: rows that apply at restart, compared between two snapshots. Called by the server. */
#include "core/conf/conf_int.h"

static bool same(const struct conf_row *row, const struct conf *a, const struct conf *b)
{
    const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;

    switch (row->type) {
    case CONF_TYPE_STR: return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
    case CONF_TYPE_BOOL: return *(const bool *)x == *(const bool *)y;
    case CONF_TYPE_ENUM: return *(const int *)x == *(const int *)y;
    case CONF_TYPE_DURATION: return *(const uint64_t *)x == *(const uint64_t *)y;
    case CONF_TYPE_INT:
    case CONF_TYPE_SIZE: break;
    }
    return *(const int64_t *)x == *(const int64_t *)y;
}

void conf_warn_restart(const struct conf *old, const struct conf *fresh, struct conf_report *report)
{
    for (size_t i = 0; i < conf_nrows; i++) {
        const struct conf_row *row = &conf_rows[i];
        struct conf_place place = {.file = fresh->path};

        if (row->apply != CONF_APPLY_RESTART || same(row, old, fresh))
            continue;
        conf_where(fresh, slice_str(row->name), &place);
        conf_report_add(report, CONF_SEVERITY_WARNING, place.file, place.line,
                        "%s has changed: that takes effect when the server is started again", row->name);
    }
}

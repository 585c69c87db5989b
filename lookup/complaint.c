/* Warnings about tables and their servers, told once instead of with every lookup: see complaint.h. */
#include "lookup/complaint.h"

#include "core/base/alloc.h"
#include "core/base/log.h"

#define COMPLAINT_AGAIN_MS 60000 /* the same text */
#define COMPLAINT_GAP_MS   1000  /* another text */

void complaint_raise(struct complaint *c, struct loop *loop, const char *what, const char *text)
{
    uint64_t now = loop_now_ms(loop);

    if (c->text != NULL) {
        bool same = strcmp(c->text, text) == 0;

        if (now - c->logged_ms < (same ? COMPLAINT_AGAIN_MS : COMPLAINT_GAP_MS))
            return;
    }
    mem_free(c->text);
    c->text = mem_strdup(text);
    c->logged_ms = now;
    log_event(LOG_TABLE_WARNING, NULL, "%s: %s", what, text);
}

void complaint_clear(struct complaint *c, const char *what)
{
    if (c->text == NULL)
        return;
    complaint_release(c);
    log_event(LOG_TABLE_INFO, NULL, "%s: works again", what);
}

void complaint_release(struct complaint *c)
{
    mem_free(c->text);
    c->text = NULL;
}

/*
 * The content of a file that notices when the file changes: it is looked at when it is used, at most once a second,
 * on a pool thread. What was read before stays in force until the new content has been read without an error.
 */
#ifndef MTA_LOOKUP_FILE_SOURCE_H
#define MTA_LOOKUP_FILE_SOURCE_H

#include "core/base/buf.h"
#include "core/loop/loop.h"

struct file_source_kind {
    /*
     * Makes the content of the file's text; any thread. Complaints go to `report` as table_check has them; NULL when
     * one is an error.
     */
    void *(*parse)(const char *path, struct slice text, struct buf *report);
    void (*free)(void *content);
    size_t size_max; /* bytes; a larger file is an error */
};

struct file_source;

/*
 * Reads the file (blocking). `checked` is called, from the loop, whenever the file has been looked at again.
 * Complaints are logged with `name` before them. `path` and `name` must live as long as the source.
 */
struct file_source *file_source_new(struct loop *, const struct file_source_kind *, const char *path, const char *name,
                                    void (*checked)(void *owner), void *owner);
void file_source_free(struct file_source **);
/* May the content be used now? Otherwise the file is being looked at, and `checked` says when that is over. */
bool file_source_ready(struct file_source *);
/* Valid until the next `checked`. NULL when nothing could be read so far. */
void *file_source_content(const struct file_source *);
/* Why there is no content. */
const char *file_source_why(const struct file_source *);

/* Reads and parses the file once (blocking), as file_source_new does. */
void *file_source_read(const struct file_source_kind *, const char *path, struct buf *report);

#endif

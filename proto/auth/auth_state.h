/*
 * The file that keeps auth_guard's state over a restart: text, a line for each record, times as seconds of the wall
 * clock. Pure but for the two functions that say otherwise.
 */
#ifndef MTA_AUTH_STATE_H
#define MTA_AUTH_STATE_H

#include "core/base/buf.h"
#include "proto/auth/auth_counts.h"

/* Adds a record to a snapshot: quick, for the loop. */
void auth_state_add(struct buf *snapshot, const struct auth_record *);
/* The file's text of a snapshot that was taken at wall_ms. */
void auth_state_format(struct slice snapshot, uint64_t wall_ms, struct buf *out);
/* Calls fn for each record, as of wall_ms. False at the first line that is damaged, or when the end is missing. */
bool auth_state_parse(struct slice text, uint64_t wall_ms, void (*fn)(void *arg, const struct auth_record *),
                      void *arg);

/* Block; answer 0 or an errno. What is written takes the place of the file at once and as a whole. */
int auth_state_write(const char *path, struct slice text);
/* EFBIG for a file that is none of ours. */
int auth_state_read(const char *path, struct buf *text);

#endif

/*
 * One message on its way into one maildir: tmp/, fsync, new/, fsync. Everything here blocks and is for pool threads;
 * a file is used by one thread at a time.
 */
#ifndef MTA_DELIVERY_MAILDIR_FILE_H
#define MTA_DELIVERY_MAILDIR_FILE_H

#include "core/base/slice.h"

#include <sys/types.h>

struct maildir_file;

/* Nothing happens to the disk yet. `dir` is the maildir, `host` (copied, as all else) is part of file names. */
struct maildir_file *maildir_file_new(const char *dir, const char *host, uid_t uid, gid_t gid);
/*
 * Writes the next bytes, with the user's rights; the first call creates the file, and the maildir when it is missing,
 * the one with `last` makes the message visible and durable. False when something failed: the file is removed again,
 * and maildir_file_error says why.
 */
bool maildir_file_put(struct maildir_file *, struct slice bytes, bool last);
/* What failed, errno and in words: "create maildir file /x/tmp/y". */
int maildir_file_error(const struct maildir_file *, const char **doing);
/* Releases, and removes a file that is not complete. Nulls the pointer; NULL in it is fine. */
void maildir_file_free(struct maildir_file **);

/* The host's name as file names may have it, for `host`. */
char *maildir_file_host(void);

#endif

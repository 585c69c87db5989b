/*
 * libsasl2, set up once for the whole process: its mutexes, its log, its configuration, the plug-ins it loads. Only
 * auth_cyrus.c, auth_client.c and this file know it.
 */
#ifndef MTA_AUTH_SASL_LIB_H
#define MTA_AUTH_SASL_LIB_H

#include "core/base/buf.h"

/*
 * Before the first server exchange; loop thread. `application` names the file APPLICATION.conf, which is looked for in
 * the directories of `config_path` (with colons between them), or if that is empty in `own_dir` and then where libsasl2
 * always looks. libsasl2 takes one of these for the life of a process: false, with a complaint in `err`, when it was
 * another one before, or when it cannot be used; a warning too goes to `err`, with true. Blocks: reads the file, loads
 * plug-ins.
 */
bool sasl_lib_server(const char *application, const char *config_path, const char *own_dir, struct buf *err);

/*
 * Around whatever a client exchange does with libsasl2, on a thread: enter loads what clients need the first time
 * (false: that cannot be done, and there is no leave).
 */
bool sasl_lib_client_enter(void);
void sasl_lib_client_leave(void);

/*
 * What libsasl2 has to say while it works on this thread is appended to `said`, bounded; with NULL it is dropped.
 * sasl_lib_say logs it, on the loop's thread: one that was given up may come back while the process ends. `agent` may
 * be NULL. Empties `said`.
 */
void sasl_lib_listen(struct buf *said);
void sasl_lib_say(struct buf *said, const char *agent);

/*
 * Secrets: overwritten, then given back; NULL and empty are fine. Decoding answers false and an empty buffer for what
 * is not base64; the result has a NUL behind it, as libsasl2 wants it.
 */
void sasl_lib_wipe(char **text);
void sasl_lib_wipe_buf(struct buf *);
bool sasl_lib_decode(struct buf *out, const char *base64);
void sasl_lib_encode(struct buf *out, const void *p, size_t n);

#endif

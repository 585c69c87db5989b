/*
 * The control socket: sub-commands such as `mta reload` ask the running server through it. A UNIX socket in the queue
 * directory that only the server's own user (and root) may open; one request a connection: argument strings, then an
 * exit status and a text come back.
 */
#ifndef MTA_CONTROL_H
#define MTA_CONTROL_H

#include "core/base/buf.h"
#include "core/loop/loop.h"

#define CONTROL_ARGS_MOST 64

struct control;
struct control_request;

/* A request has come; `handle` answers it by control_answer, now or later. The arguments live until then. */
typedef void control_fn(void *ctx, struct control_request *, int argc, const char *const *argv);

/*
 * Listens in `directory`, whose lock the caller holds (a socket that is there is a dead server's). NULL, and why in
 * err, when that fails: the server can do without.
 */
struct control *control_open(struct loop *, const char *directory, control_fn *handle, void *ctx, char *err,
                             size_t err_size);
/* Requests not answered yet are dropped: their control_answer must not be called any more. */
void control_close(struct control **);
/* Once for each request: the client prints the text and exits with the status (0 to 255). */
void control_answer(struct control_request *, int status, struct slice text);

/*
 * The client's side; blocks. Sends the arguments to the server of that queue directory and prints its answer: to
 * standard output, or with a status that is not 0 to standard error. Answers the exit status, -1 when no server is
 * there.
 */
int control_ask(const char *directory, int argc, const char *const *argv);

#endif

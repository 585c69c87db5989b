/*
 * The composition root: builds every service from a configuration, runs the loop, stops in order. Only here are all of
 * them known.
 */
#ifndef MTA_CORE_SERVER_H
#define MTA_CORE_SERVER_H

#include <stdbool.h>

/* Runs in the foreground until SIGTERM or SIGINT. Answers the exit status. */
int server_run(const char *conf_path);

/*
 * `mta --check-config`: builds everything that needs neither queue nor sockets and prints all complaints to standard
 * error; `deep`: tries what the configuration names, and prints that to standard output (check_deep.h). Answers 0 when
 * there are warnings at the most, else 1.
 */
int server_check(const char *conf_path, bool deep);

/*
 * `mta explain` without a running server: builds the same, asks, prints. `argv` as explain_parse has it. Answers the
 * exit status.
 */
int server_explain(const char *conf_path, int argc, const char *const *argv);

#endif

/* The sub-commands that need no running server: mta lookup, mta queue, mta config. Each answers the exit status. */
#ifndef MTA_CORE_CLI_H
#define MTA_CORE_CLI_H

#define CLI_DEFAULT_CONF "/etc/mta/mta.conf"

/* `mta lookup KEY TABLE`: postmap -q. 0 found, 1 not found, 2 the table failed. */
int cli_lookup(const char *conf_path, int argc, char **argv);
/* `mta queue list [--json]`, `mta queue show QID`: postqueue -p and -j, postcat -q. 1 when the queue cannot be read. */
int cli_queue(const char *conf_path, int argc, char **argv);
/* `mta config show [-n | -d] [NAME...]`: postconf. */
int cli_config(const char *conf_path, int argc, char **argv);

#endif

/* The sub-commands that need no running server: mta lookup, mta queue, mta config. Each answers the exit status. */
#ifndef MTA_CORE_CLI_H
#define MTA_CORE_CLI_H

#define CLI_DEFAULT_CONF "/etc/mta/mta.conf"

/*
 * `mta lookup KEY TABLE`: postmap -q. 0 found, 1 not found, 2 the table failed. With "-" for a key, the keys are the
 * lines of standard input, and what is found is "key<TAB>value"; 0 when any was found.
 */
int cli_lookup(const char *conf_path, int argc, char **argv);
/*
 * `mta mx DOMAIN...`: "preference host address" for each address that mail for a domain is taken to; with several
 * domains, or "-" for the lines of standard input, "domain<TAB>" before it. 1: a domain has none, 2: DNS failed.
 */
int cli_mx(const char *conf_path, int argc, char **argv);
/* `mta queue list [--json]`, `mta queue show QID`: postqueue -p and -j, postcat -q. 1 when the queue cannot be read. */
int cli_queue(const char *conf_path, int argc, char **argv);
/* `mta config VERB ...`: postconf; without a verb it lists them. */
int cli_config(const char *conf_path, int argc, char **argv);
/* `mta passwd`: a hash for smtpd_sasl_password_maps; the password is asked for, or a line of standard input. */
int cli_passwd(const char *conf_path, int argc, char **argv);
/* `mta reload`: the running server reads its configuration anew; 1 when it keeps the one in force, or is not there. */
int cli_reload(const char *conf_path, int argc, char **argv);
/* `mta status [--json | --unban WHAT]`: what the running server does; 1 when it is not there. */
int cli_status(const char *conf_path, int argc, char **argv);
/* `mta explain ADDRESS ...`: asks the running server, or works it out itself when there is none. */
int cli_explain(const char *conf_path, int argc, char **argv);

#endif

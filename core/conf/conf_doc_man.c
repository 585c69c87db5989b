/* `mta config doc --man`: the reference as the source of a manual page, mta.conf(5). Called by conf_doc.c. */
#include "core/conf/conf_doc.h"

/* Text that is no request and no escape, and that may be broken behind the commas and slashes of a long word. */
static void put(FILE *out, const char *text)
{
    if (text[0] == '.' || text[0] == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++)
        switch (*text) {
        case '\\': fputs("\\e", out); break;
        case '-': fputs("\\-", out); break;
        case '^': fputs("\\(ha", out); break;
        case '~': fputs("\\(ti", out); break;
        case ',': fputs(text[1] != ' ' && text[1] != '\0' ? ",\\:" : ",", out); break;
        default: fputc(*text, out);
        }
}

static void paragraph(FILE *out, const char *text)
{
    fputs(".PP\n", out);
    put(out, text);
    fputc('\n', out);
}

static void begin(FILE *out)
{
    fputs(".\\\" Made by `mta config doc --man`.\n"
          ".TH MTA.CONF 5 \"\" \"mta " MTA_VERSION "\" \"mta\"\n"
          ".ad l\n"
          ".nh\n"
          ".SH NAME\n"
          "mta.conf \\- configuration of the mail transfer agent mta\n"
          ".SH SYNOPSIS\n"
          ".B /etc/mta/mta.conf\n"
          ".SH DESCRIPTION\n",
          out);
    for (const char *const *text = conf_doc_language; *text != NULL; text++)
        paragraph(out, *text);
    paragraph(out, "mta --check-config reports what is wrong in the file, mta config show prints what is set, and mta "
                   "config set changes it.");
}

static void section(FILE *out, const char *title, const char *text, bool of_names)
{
    (void)of_names;
    fputs(".SH \"", out);
    for (; *title != '\0'; title++)
        fputc(ascii_upper(*title), out);
    fputs("\"\n", out);
    put(out, text);
    fputc('\n', out);
}

static void entry(FILE *out, const struct conf_doc_entry *e)
{
    fputs(".TP\n\\fB", out);
    put(out, e->name);
    fputs("\\fR (default: ", out);
    if (e->computed != NULL)
        put(out, e->computed);
    else if (e->def[0] == '\0')
        fputs("empty", out);
    else
        put(out, e->def);
    fputs(")\n", out);
    put(out, e->doc);
    fputs("\n.br\n", out);
    put(out, e->remark);
    fputc('\n', out);
}

static void names(FILE *out, const char *names_text, const char *text)
{
    fputs(".TP\n\\fI", out);
    put(out, text);
    fputs("\\fR\n", out);
    put(out, names_text);
    fputc('\n', out);
}

static void end(FILE *out)
{
    fputs(".SH FILES\n"
          ".TP\n/etc/mta/mta.conf\nthe configuration; \\-c names another, or a directory with Postfix's main.cf and "
          "master.cf\n"
          ".SH \"SEE ALSO\"\n"
          "mta \\-\\-help\n",
          out);
}

const struct conf_doc_style conf_doc_man = {begin, section, entry, names, end};

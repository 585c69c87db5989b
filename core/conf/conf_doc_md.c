/* `mta config doc --md`: the reference as Markdown tables. Called by conf_doc.c. */
#include "core/conf/conf_doc.h"

/* In a table's cell | ends it; < begins a tag, and * is for emphasis. */
static void put(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<') {
            fputs("&lt;", out);
            continue;
        }
        if (strchr("|*\\", *text) != NULL)
            fputc('\\', out);
        fputc(*text, out);
    }
}

/* Inside of a code span only | is special. */
static void code(FILE *out, const char *text)
{
    fputc('`', out);
    for (; *text != '\0'; text++)
        if (*text == '|')
            fputs("\\|", out);
        else
            fputc(*text, out);
    fputc('`', out);
}

static void begin(FILE *out)
{
    fputs("# mta.conf\n\n<!-- Made by `mta config doc --md`. -->\n", out);
    for (const char *const *text = conf_doc_language; *text != NULL; text++) {
        fputc('\n', out);
        put(out, *text);
        fputc('\n', out);
    }
}

static void section(FILE *out, const char *title, const char *text, bool of_names)
{
    fputs("\n## ", out);
    put(out, title);
    fputs("\n\n", out);
    put(out, text);
    fputs(of_names ? "\n\n| about | names |\n| --- | --- |\n"
                   : "\n\n| name | default | meaning |\n| --- | --- | --- |\n",
          out);
}

static void entry(FILE *out, const struct conf_doc_entry *e)
{
    fputs("| ", out);
    code(out, e->name);
    fputs(" | ", out);
    if (e->computed != NULL)
        put(out, e->computed);
    else if (e->def[0] == '\0')
        fputs("empty", out);
    else
        code(out, e->def);
    fputs(" | ", out);
    put(out, e->doc);
    fputs(" *", out);
    put(out, e->remark);
    fputs("* |\n", out);
}

static void names(FILE *out, const char *names_text, const char *text)
{
    struct slice rest = slice_str(names_text);
    const char *separator = " | ";

    fputs("| ", out);
    put(out, text);
    for (struct slice name; (name = slice_token(&rest, ", ")).n > 0; separator = ", ")
        fprintf(out, "%s`%.*s`", separator, (int)name.n, name.p);
    fputs(" |\n", out);
}

static void end(FILE *out)
{
    (void)out;
}

const struct conf_doc_style conf_doc_md = {begin, section, entry, names, end};

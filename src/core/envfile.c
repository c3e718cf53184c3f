#include "core/envfile.h"

static const struct str reference_names[ENV_REF_COUNT] = {
    [ENV_REF_MODEL] = STR_INIT("model"),
    [ENV_REF_PROVIDER] = STR_INIT("provider"),
    [ENV_REF_BASE_URL] = STR_INIT("base_url"),
    [ENV_REF_CREDENTIAL] = STR_INIT("credential"),
    [ENV_REF_CREDENTIAL_ENV] = STR_INIT("credential_env"),
};

enum env_scan
env_file_scan(struct str *line, struct str *ret_before, enum env_reference *ret, bool *ret_quoted)
{
    struct str s = *line, name;
    size_t at = 0, end;

    while (at + 1 < s.n && (s.p[at] != '$' || s.p[at + 1] != '{'))
        at++;
    if (at + 1 >= s.n) {
        *ret_before = s;
        *line = str_slice(s, s.n, s.n);
        return ENV_SCAN_END;
    }
    *ret_before = str_slice(s, 0, at);
    s = str_slice(s, at + 2, s.n);
    end = str_find_char(s, '}');
    if (end == s.n)
        return ENV_SCAN_UNKNOWN;
    name = str_slice(s, 0, end);
    *line = str_slice(s, end + 1, s.n);
    *ret_quoted = str_ends_with(*ret_before, STR("\"")) && str_starts_with(*line, STR("\""));
    for (*ret = 0; *ret < ENV_REF_COUNT; (*ret)++) {
        if (str_equal(name, reference_names[*ret]))
            return ENV_SCAN_REFERENCE;
    }
    return ENV_SCAN_UNKNOWN;
}

static const struct rstr *
lines_of(const struct registry *r, const struct registry_file *file)
{
    return registry_strs(r, file->content);
}

bool
env_file_refers(
    const struct registry *r, const struct registry_file *file, enum env_reference wanted)
{
    for (uint32_t i = 0; i < file->content.n; i++) {
        struct str line = registry_str(r, lines_of(r, file)[i]), before;
        enum env_reference reference;
        bool quoted;

        while (env_file_scan(&line, &before, &reference, &quoted) == ENV_SCAN_REFERENCE) {
            if (reference == wanted)
                return true;
        }
    }
    return false;
}

static void
part_add(struct env_file *file, struct env_part part)
{
    /* The loader counted: more than fit is a registry that did not load. */
    if (part.text.n > 0 && file->parts_n < ENV_FILE_PARTS_MAX)
        file->parts[file->parts_n++] = part;
}

static void
line_add(const struct env_file_facts *f, struct str line, struct env_file *file)
{
    struct str before;
    enum env_reference reference;
    bool quoted = false;

    while (env_file_scan(&line, &before, &reference, &quoted) == ENV_SCAN_REFERENCE) {
        struct env_part part = f->of[reference];

        part.quoted = quoted;
        part_add(file, (struct env_part){.text = before});
        part_add(file, part);
    }
    part_add(file, (struct env_part){.text = before});
    part_add(file, (struct env_part){.text = STR("\n")});
}

size_t
env_files_make(const struct env_file_facts *f, struct env_file ret[static ENV_FILES_MAX])
{
    const struct registry_file *files = registry_files(f->registry, f->runtime);
    size_t n = 0;

    for (uint32_t i = 0; i < f->runtime->files.n && n < ENV_FILES_MAX; i++) {
        struct env_file *file = &ret[n];

        if (!registry_list_has_name(f->registry, files[i].providers, f->provider))
            continue;
        *file = (struct env_file){
            .path = registry_str(f->registry, files[i].path), .refreshed = files[i].refreshed != 0};
        for (uint32_t k = 0; k < files[i].content.n; k++)
            line_add(f, registry_str(f->registry, lines_of(f->registry, &files[i])[k]), file);
        n++;
    }
    return n;
}

#include "api/json.h"
#include "cli/cmd.h"
#include "cli/doctor.h"
#include "cli/output.h"
#include "cli/serve_flags.h"

static const char *const verdicts[] = {
    [DOCTOR_OK] = "ok", [DOCTOR_WARNING] = "warning", [DOCTOR_BROKEN] = "broken"};

void
doctor_note(struct doctor *d, const char *check, enum doctor_verdict verdict, const char *advice,
    const char *format, ...)
{
    char found[1500];
    va_list args;

    va_start(args, format);
    vsnprintf(found, sizeof(found), format, args);
    va_end(args);
    d->counts[verdict]++;
    json_array_append_new(d->findings,
        json_pack("{s:s, s:s, s:o, s:s?}", "check", check, "verdict", verdicts[verdict], "found",
            json_str(str_from_cstr(found)), "do", advice));
}

static void
print(const struct doctor *d)
{
    size_t i;
    json_t *f;

    json_array_foreach(d->findings, i, f)
    {
        const char *advice = json_string_value(json_object_get(f, "do"));

        printf("%-8s %-16s %s\n", json_string_value(json_object_get(f, "verdict")),
            json_string_value(json_object_get(f, "check")),
            json_string_value(json_object_get(f, "found")));
        if (advice != NULL)
            printf("%-8s %-16s -> %s\n", "", "", advice);
    }
    printf("%d ok, %d warnings, %d broken\n", d->counts[DOCTOR_OK], d->counts[DOCTOR_WARNING],
        d->counts[DOCTOR_BROKEN]);
}

int
cmd_doctor(int argc, char **argv)
{
    struct serve_flags flags;
    struct settings_input input;
    struct settings settings;
    struct doctor d = {.settings = &settings};
    bool json = false;
    struct command_line line = {"purser doctor", "",
        "Looks at everything purser needs on this machine and at what it keeps, and says what to "
        "do\nabout what is wrong. Changes nothing; purserd may serve meanwhile. Exit code 1 when "
        "something\nis broken."};
    struct arguments a = {0};
    struct error e;
    int code;

    serve_flags_init(&flags);
    serve_flags_add(&flags, (struct option){"json", NULL, "print JSON", .flag = &json});
    line.options = flags.options;
    line.options_n = flags.options_n;
    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    input = serve_flags_input(&flags);
    if (settings_load(&input, &settings, &e) != ERR_OK)
        return cmd_fail(&e);
    d.findings = json_array();
    doctor_look_at_state(&d);
    doctor_look_at_machine(&d);
    if (json)
        output_json(d.findings);
    else
        print(&d);
    json_decref(d.findings);
    settings_done(&settings);
    return d.counts[DOCTOR_BROKEN] > 0 ? EXIT_FAILED : EXIT_OK;
}

/*
 * The program purser-shim: the shim of an agent that is a process. `purser _shim` does the same, but
 * loads every library of purser first, which takes longer than all the rest of a start and stays in
 * memory as long as the agent does. Containers need the engine's client, so theirs is `purser _shim`.
 */
#include "launch/container.h"
#include "launch/shim.h"

#include <unistd.h>

_Noreturn void
container_run(const struct order *order, const struct child_pipes *pipes, struct secret *memory)
{
    struct {
        struct child_failure failure;
        char text[CHILD_TEXT_BYTES];
    } report = {{CHILD_STEP_CONTAINER, 0}, "purser-shim was given a container's order"};

    if (write(pipes->report, &report, sizeof(report)) < 0)
        _exit(126);
    _exit(127);
}

/* There is none: no container ever ran below this shim. */
enum err
container_remove(const char *engine, struct id workspace, struct error *e)
{
    return ERR_OK;
}

int
main(int argc, char **argv)
{
    return shim_main(argc, argv);
}

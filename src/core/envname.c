/* Names of variables that nobody may store, or that must never reach a tenant's agent. */
#include "core/envplan.h"

enum { NAME_BYTES_MAX = 128 };

struct name_rule {
    struct str text;
    bool is_prefix;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define EXACT(literal)                                                                             \
    {                                                                                              \
        STR_INIT(literal), false                                                                   \
    }
#define PREFIX(literal)                                                                            \
    {                                                                                              \
        STR_INIT(literal), true                                                                    \
    }

static const struct name_rule reserved[] = {
    /* Set by purser, so a stored value could only contradict it. */
    PREFIX("MOLECULE_LLM_"),
    PREFIX("PURSER_"),
    EXACT("WORKSPACE_ID"),
    EXACT("WORKSPACE_CONFIG_PATH"),
    EXACT("PLATFORM_URL"),
    EXACT("MOLECULE_URL"),
    EXACT("MOLECULE_AGENT_ROLE"),
    EXACT("PARENT_ID"),
    EXACT("HOME"),
    /* Retired: a stored provider never decides anything. */
    EXACT("LLM_PROVIDER"),
    /* Would load foreign code into whatever is started, before it drops its rights. */
    PREFIX("LD_"),
    PREFIX("DYLD_"),
    EXACT("GCONV_PATH"),
    EXACT("GLIBC_TUNABLES"),
    EXACT("LOCPATH"),
    EXACT("BASH_ENV"),
    EXACT("ENV"),
    EXACT("IFS"),
};

static const struct name_rule operator_scope[] = {
    PREFIX("MOLECULE_OPERATOR_"),
    EXACT("GITEA_TOKEN"),
    EXACT("GITEA_PAT"),
    EXACT("GITHUB_TOKEN"),
    EXACT("GITHUB_PAT"),
    EXACT("GH_TOKEN"),
    EXACT("GITLAB_TOKEN"),
    EXACT("GL_TOKEN"),
    EXACT("BITBUCKET_TOKEN"),
    EXACT("CP_ADMIN_API_TOKEN"),
    EXACT("CP_ADMIN_TOKEN"),
    EXACT("INFISICAL_OPERATOR_TOKEN"),
    EXACT("INFISICAL_BOOTSTRAP_TOKEN"),
    EXACT("RAILWAY_TOKEN"),
    EXACT("RAILWAY_PERSONAL_API_TOKEN"),
    EXACT("HETZNER_TOKEN"),
    EXACT("HETZNER_API_TOKEN"),
};

static bool
matches(const struct name_rule *rules, size_t n, struct str name)
{
    name = str_trim(name);
    for (size_t i = 0; i < n; i++) {
        struct str start = name;

        if (rules[i].is_prefix && name.n > rules[i].text.n)
            start = str_slice(name, 0, rules[i].text.n);
        if (str_equal_name(start, rules[i].text))
            return true;
    }
    return false;
}

bool
env_name_is_reserved(struct str name)
{
    return matches(reserved, COUNT(reserved), name);
}

bool
env_name_is_operator_scope(struct str name)
{
    return matches(operator_scope, COUNT(operator_scope), name);
}

bool
env_name_is_valid(struct str name)
{
    name = str_trim(name);
    if (name.n == 0 || name.n > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = str_upper_char(name.p[i]);

        if ((c < 'A' || c > 'Z') && c != '_' && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return true;
}

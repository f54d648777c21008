/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flush.c -- choose how cache lines are written back
 *
 * Owns: the choice.  Locks: none; made before main(), never changed.
 * Kernel: boot_cpu_has(X86_FEATURE_CLWB) and alternatives.
 */
#include "flush.h"

#include <stdlib.h>
#include <string.h>

static const struct flush_ops *chosen;

static const struct flush_ops *find_variant(const char *name)
{
	for (size_t i = 0; flush_variants[i]; i++)
		if (flush_present(flush_variants[i]) &&
		    (!name || !strcmp(name, flush_variants[i]->name)))
			return flush_variants[i];
	return NULL;
}

__attribute__((constructor(102))) static void flush_init(void)
{
	chosen = find_variant(getenv("DAXCORE_FLUSH"));
	if (!chosen)
		chosen = find_variant(NULL);
}

const struct flush_ops *flush_select(void)
{
	return chosen;
}

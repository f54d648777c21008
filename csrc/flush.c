/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flush.c -- choose how cache lines are written back
 *
 * Owns: the choice.  Locks: none; made before main(), never changed.
 * Kernel: boot_cpu_has(X86_FEATURE_CLWB) and alternatives.
 */
#include "flush.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "errormsg.h"

static const struct flush_ops *chosen;
static char refused[32];	/* what was asked for, and is not there */

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
	const char *name = getenv("DAXCORE_FLUSH");

	if (name && *name)
		chosen = find_variant(name);
	if (chosen)
		return;
	chosen = find_variant(NULL);
	if (name)
		snprintf(refused, sizeof(refused), "%s", name);
}

const struct flush_ops *flush_select(void)
{
	return chosen;
}

int flush_check(void)
{
	if (!chosen)
		return dax_error(-EOPNOTSUPP, "no cache-line write-back is known for this "
				 "CPU");
	if (*refused)
		return dax_error(-EINVAL, "DAXCORE_FLUSH=%s names no cache-line write-back "
				 "that this CPU has: clwb, clflushopt or clflush; unset, "
				 "it is %s", refused, chosen->name);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.c -- what the benchmark programs share: arguments, medians
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((noreturn)) void usage(const char *program)
{
	fprintf(stderr, "usage: %s [--pages N] [--rounds N], N above 0\n",
		program);
	exit(2);
}

static uint64_t number(const char *program, const char *text)
{
	char *end = NULL;
	uint64_t value = text ? strtoull(text, &end, 10) : 0;

	if (!value || *end)
		usage(program);
	return value;
}

uint64_t bench_option(int argc, char **argv, const char *name,
		      uint64_t fallback)
{
	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--pages") && strcmp(argv[i], "--rounds"))
			usage(argv[0]);
		if (!strcmp(argv[i] + 2, name))
			fallback = number(argv[0],
					  i + 1 < argc ? argv[i + 1] : NULL);
	}
	return fallback;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, size_t nr)
{
	qsort(values, nr, sizeof(*values), ascending);
	return nr % 2 ? values[nr / 2] :
			(values[nr / 2 - 1] + values[nr / 2]) / 2;
}

void bench_check(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-ret));
	exit(1);
}

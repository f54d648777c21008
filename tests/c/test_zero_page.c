/* SPDX-License-Identifier: BSD-3-Clause */
/* test_zero_page.c -- the zero frames: zero, read-only, without cost */
#define _GNU_SOURCE
#include "zero_page.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "daxcore/types.h"
#include "frames.h"
#include "tap.h"
#include "test_hooks.h"

static const char *frame(dax_pfn_t pfn)
{
	return pfn_to_kaddr(pfn);
}

static bool is_zero(const char *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void where(void)
{
	const char *base = zero_page_base();

	MUST(base && zero_page_present());
	CHECK(frame(DAX_ZERO_PFN) == base + DAX_PAGE_SIZE);
	CHECK(frame(DAX_HUGE_ZERO_PFN) == base + DAX_PMD_SIZE);
	EQ((uintptr_t)frame(DAX_HUGE_ZERO_PFN) % DAX_PMD_SIZE, 0);
	CHECK(!pfn_is_device(DAX_ZERO_PFN) && !pfn_is_device(DAX_HUGE_ZERO_PFN + 511));
}

static void zeroes(void)
{
	CHECK(is_zero(frame(DAX_ZERO_PFN), DAX_PAGE_SIZE));
	CHECK(is_zero(frame(DAX_HUGE_ZERO_PFN), DAX_PMD_SIZE));
}

/* A store into them is a crash, not a corruption. */
static void read_only(void)
{
	const dax_pfn_t pfns[] = { DAX_ZERO_PFN, DAX_HUGE_ZERO_PFN,
				   DAX_HUGE_ZERO_PFN + 511 };

	for (int i = 0; i < 3; i++) {
		int status = 0;
		pid_t child = fork();

		if (child == 0) {
			signal(SIGSEGV, SIG_DFL);
			*(volatile char *)(uintptr_t)frame(pfns[i]) = 1;
			_exit(0);
		}
		MUST(child > 0 && waitpid(child, &status, 0) == child);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}

/* "Anonymous:" of our mapping: memory of its own that was read into being. */
static long anonymous_kib(const void *addr)
{
	unsigned long from, to;
	char line[512];
	long kib = -1;
	bool ours = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	if (!f)
		skip_all("/proc/self/smaps cannot be read");
	while (kib < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = from <= (uintptr_t)addr && (uintptr_t)addr < to;
		else if (ours)
			sscanf(line, "Anonymous: %ld kB", &kib);
	}
	fclose(f);
	return kib;
}

static void no_memory_of_their_own(void)
{
	CHECK(is_zero(frame(DAX_HUGE_ZERO_PFN), DAX_PMD_SIZE));
	EQ(anonymous_kib(frame(DAX_HUGE_ZERO_PFN)), 0);
}

static void no_huge(void)
{
	CHECK(huge_zero_page_present());
	dax_test.no_huge_zero = true;
	CHECK(!huge_zero_page_present());
	CHECK(zero_page_present());
	dax_test.no_huge_zero = false;
	CHECK(huge_zero_page_present());
}

int main(void)
{
	plan(5);
	run("they lie where their numbers say", where);
	run("every byte is zero", zeroes);
	run("a store is a crash", read_only);
	run("reading them costs no memory", no_memory_of_their_own);
	run("tests may do without the huge one", no_huge);
	return done();
}

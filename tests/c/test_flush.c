/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_flush.c -- cache lines written back, and stores past the cache
 *
 * A flush cannot be seen from outside, so the lines it covers are read off
 * where it faults: an instruction that touches a page of no access ends in
 * SIGSEGV, one that does not, does not.
 */
#define _GNU_SOURCE
#include "flush.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "compiler.h"
#include "tap.h"

enum { REFUSED = 98, MAX_LEN = 300, ALIGNMENTS = 64, MARGIN = 64,
       ROOM = MARGIN + ALIGNMENTS + MAX_LEN + MARGIN };

static void each_present(void (*test)(const struct flush_ops *ops))
{
	for (size_t i = 0; flush_variants[i]; i++)
		if (flush_present(flush_variants[i]))
			test(flush_variants[i]);
}

/* ---- stores past the cache -------------------------------------------------------- */

static __aligned(64) unsigned char to[ROOM], expected[ROOM], from[ROOM];

static void check_copy(const struct flush_ops *ops, size_t align, size_t len,
		       size_t from_align)
{
	memset(to, 0xee, ROOM);
	memset(expected, 0xee, ROOM);
	memcpy(expected + MARGIN + align, from + from_align, len);
	ops->copy_nt(to + MARGIN + align, from + from_align, len);
	ops->fence();
	CHECK(!memcmp(to, expected, ROOM));
}

static void check_zero(const struct flush_ops *ops, size_t align, size_t len)
{
	memset(to, 0xee, ROOM);
	memset(expected, 0xee, ROOM);
	memset(expected + MARGIN + align, 0, len);
	ops->zero_nt(to + MARGIN + align, len);
	ops->fence();
	CHECK(!memcmp(to, expected, ROOM));
}

static void copies_of(const struct flush_ops *ops)
{
	int bad = tap_bad;

	for (size_t i = 0; i < ROOM; i++)
		from[i] = (unsigned char)(i * 37 + 11);
	for (size_t align = 0; align < ALIGNMENTS; align++)
		for (size_t len = 0; len <= MAX_LEN; len++) {
			check_copy(ops, align, len, align);
			check_copy(ops, align, len, (align * 7 + len) % 64);
			check_zero(ops, align, len);
			if (tap_bad != bad) {
				printf("# %s: alignment %zu, length %zu\n", ops->name,
				       align, len);
				return;
			}
		}
}

static void copies(void)
{
	each_present(copies_of);
}

/* ---- which lines ---------------------------------------------------------------------- */

enum { PAGE = 4096 };

static char *window;	/* no access, 64 lines of access, no access */
static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, sig);
}

static void map_window(void)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	window = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(window != MAP_FAILED);
	MUST(!mprotect(window, PAGE, PROT_NONE));
	MUST(!mprotect(window + 2 * PAGE, PAGE, PROT_NONE));
	MUST(!sigaction(SIGSEGV, &action, NULL));
}

static bool faults(const struct flush_ops *ops, const char *addr, size_t n)
{
	if (sigsetjmp(fault, 0))
		return true;
	ops->flush(addr, n);
	ops->fence();
	return false;
}

/* Ranges that begin or end at the border: one byte beyond it is a line of the
 * page of no access, up to it is none. */
static void lines_of(const struct flush_ops *ops)
{
	char *first = window + PAGE, *end = window + 2 * PAGE;

	for (size_t n = 1; n <= 200; n++) {
		CHECK(!faults(ops, first, n));
		CHECK(!faults(ops, end - n, n));
		CHECK(faults(ops, end - n, n + 1));
		CHECK(faults(ops, first - 1, n));
		if (n < 64) {
			CHECK(faults(ops, end - n, n + 64));
		}
	}
	CHECK(!faults(ops, first, PAGE));
	CHECK(faults(ops, window + 10, 1));
	CHECK(faults(ops, window + PAGE - 64, 64));
}

static void lines(void)
{
	map_window();
	each_present(lines_of);
	munmap(window, 3 * PAGE);
	signal(SIGSEGV, SIG_DFL);
}

/* Every line between: the range is split by a page of no access in turn. */
static void every_line_of(const struct flush_ops *ops)
{
	for (int hole = 0; hole < 8; hole++) {
		char *area = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		MUST(area != MAP_FAILED);
		CHECK(!faults(ops, area + 100, 8 * PAGE - 200));
		MUST(!mprotect(area + hole * PAGE, PAGE, PROT_NONE));
		CHECK(faults(ops, area + 100, 8 * PAGE - 200));
		munmap(area, 8 * PAGE);
	}
}

static void every_page(void)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	MUST(!sigaction(SIGSEGV, &action, NULL));
	each_present(every_line_of);
	signal(SIGSEGV, SIG_DFL);
}

/* ---- the choice --------------------------------------------------------------------------- */

static void best_first(void)
{
	const struct flush_ops *best = NULL;

	for (size_t i = 0; !best && flush_variants[i]; i++)
		if (flush_present(flush_variants[i]))
			best = flush_variants[i];
	if (!getenv("DAXCORE_FLUSH"))
		CHECK(flush_select() == best);
}

static const char *self;

/* What a process chooses that has @value in its environment: its exit code is
 * the number of the variant, or REFUSED. */
static int choice(const char *value)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (!pid) {
		setenv("DAXCORE_FLUSH", value, 1);
		execl(self, self, "--choice", NULL);
		_exit(99);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int number_of(const struct flush_ops *ops)
{
	int i = 0;

	while (flush_variants[i] && flush_variants[i] != ops)
		i++;
	return i;
}

static void environment(void)
{
	int best = choice("");

	EQ(choice("sfence"), REFUSED);
	EQ(choice("CLWB"), REFUSED);
	EQ(choice("a name that is longer than there is room for it"), REFUSED);
	CHECK(flush_present(flush_variants[best]));
	for (int i = 0; flush_variants[i]; i++) {
		bool present = flush_present(flush_variants[i]);

		EQ(choice(flush_variants[i]->name), present ? i : REFUSED);
	}
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc > 1 && !strcmp(argv[1], "--choice"))
		return flush_check() ? REFUSED : number_of(flush_select());
	if (!flush_select())
		skip_all("no cache-line write-back is known for this CPU");
	plan(5);
	run("the best variant is chosen", best_first);
	run("DAXCORE_FLUSH chooses another that is present, or is refused", environment);
	run("copy and zero past the cache: every alignment, 0 to 300 bytes", copies);
	run("the lines of a range and no other", lines);
	run("every page of a long range", every_page);
	return done();
}

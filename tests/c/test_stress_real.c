/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_real.c -- threads load and store through two real mappings of one
 * file, by addresses; built under TSan too
 *
 * Of each page of the file each writer owns a byte.  It stores there once in a
 * round, while others load, which brings in zeroes: what was stored must be in the
 * file when the round is over, and a load sees nothing but zero and that.  (A store
 * that meets the zeroes on their way is seen by its own mapping at once, by others
 * when the fault that brings them in has ended.)  Beside them one thread punches and
 * cuts off pages of its own and wants zeroes then, everywhere.
 *
 * The same with read(2) that stores and write(2) that loads, in thread delivery, where
 * the kernel's own touches are served.
 *
 * The rules that keep stores are taken out one by one: then bytes are missing.
 *
 * Then two writers count in pages beside an fsync: the medium remembers what was
 * flushed, and an fsync has left out nothing that was stored before it.
 *
 * 150,000 stores to pages in holes; test_stress_real 7 makes a million.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "invariants.h"
#include "persist.h"
#include "white_box.h"

enum {
	WRITERS = 2,
	READERS = 2,
	ROUNDS = 12,
	CALL_ROUNDS = 3,
	STABLE = 3 * PMD_PAGES,		/* the writers' pages */
	MOST = 5 * PMD_PAGES		/* the rest is the cutter's */
};

const char *__tsan_default_options(void);

/* The handler allocates: it interrupts a load or store of ours, never malloc(). */
const char *__tsan_default_options(void)
{
	return "report_signal_unsafe=0";
}

static struct dax_vma *vma[2];
static unsigned char *mem[2];
static _Atomic bool over;
static _Atomic unsigned int nr_wrong;
static unsigned int round_nr;
static unsigned int times = 1;	/* as many rounds */

struct actor {
	pthread_t thread;
	unsigned int nr;
	unsigned int seed;
};

static void wrong(const char *where, dax_pgoff_t page)
{
	if (!atomic_fetch_add(&nr_wrong, 1))
		printf("# %s: page %" PRIu64 "\n", where, page);
}

static unsigned char *byte_of(unsigned int map, dax_pgoff_t page, unsigned int nr)
{
	return mem[map] + (page << DAX_PAGE_SHIFT) + page % 60 * 64 + nr;
}

/*
 * TSan takes an mmap() for a store to all of it, and the bytes of a read(2) or write(2)
 * for ours.  What it is to watch is the library; these are the CPU's, and the kernel's,
 * which it does not see if the C library is passed by.
 */
#define UNWATCHED __attribute__((no_sanitize("thread"), noinline))

static UNWATCHED int load_byte(unsigned int map, dax_pgoff_t page, unsigned int nr)
{
	return __atomic_load_n(byte_of(map, page, nr), __ATOMIC_RELAXED);
}

static UNWATCHED void store_byte(unsigned int map, dax_pgoff_t page, unsigned int nr, int value)
{
	__atomic_store_n(byte_of(map, page, nr), (unsigned char)value, __ATOMIC_RELAXED);
}

static UNWATCHED bool call_stores(int fd, unsigned int map, dax_pgoff_t page, unsigned int nr)
{
	return syscall(SYS_read, fd, byte_of(map, page, nr), 1) == 1;
}

static UNWATCHED bool call_loads(int fd, unsigned int map, dax_pgoff_t page, unsigned int nr)
{
	return syscall(SYS_write, fd, byte_of(map, page, nr), 1) == 1;
}

static int value_of(dax_pgoff_t page, unsigned int nr)
{
	return (int)((page * 7 + nr * 3 + round_nr) % 250 + 1);
}

static int file_byte(dax_pgoff_t page, unsigned int nr)
{
	unsigned char byte = 0xee;

	if (dax_mapping_pread(fx.file, &byte, 1,
			      byte_of(0, page, nr) - mem[0]) != 1)
		wrong("pread", page);
	return byte;
}

/* ---- the actors ------------------------------------------------------------------------- */

/* By a system call: a byte comes out of a pipe into the page, and goes back. */
static void call_byte(const int *fd, unsigned int map, dax_pgoff_t page, unsigned int nr)
{
	int value = value_of(page, nr);
	unsigned char byte = (unsigned char)value;

	MUST(write(fd[1], &byte, 1) == 1);
	if (!call_stores(fd[0], map, page, nr))
		wrong("read(2) into a page", page);
	if (!call_loads(fd[1], map, page, nr))
		wrong("write(2) from a page", page);
	else if (read(fd[0], &byte, 1) != 1 || byte != value)
		wrong("what read(2) has stored", page);
}

/* The same, once for all pages, in an order of its own. */
static void *caller(void *arg)
{
	struct actor *a = arg;
	dax_pgoff_t step = a->nr ? 65 : 1;
	int fd[2];

	MUST(!pipe(fd));
	for (dax_pgoff_t i = 0; i < STABLE; i++)
		call_byte(fd, rnd(&a->seed, 2), i * step % STABLE, a->nr);
	close(fd[0]);
	close(fd[1]);
	return NULL;
}

/* Every page once, in an order of its own: some in a row, some not. */
static void *writer(void *arg)
{
	struct actor *a = arg;
	dax_pgoff_t step = a->nr ? 65 : 1;

	for (dax_pgoff_t i = 0; i < STABLE; i++) {
		dax_pgoff_t page = i * step % STABLE;
		unsigned int map = rnd(&a->seed, 2);

		store_byte(map, page, a->nr, value_of(page, a->nr));
		if (load_byte(map, page, a->nr) != value_of(page, a->nr))
			wrong("what a writer has stored", page);
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct actor *a = arg;

	while (!over) {
		dax_pgoff_t page = rnd(&a->seed, STABLE);
		unsigned int nr = rnd(&a->seed, WRITERS), map = rnd(&a->seed, 2);

		for (unsigned int i = 0; i < 40 && page < STABLE; i++, page++) {
			int byte = load_byte(map, page, nr);

			if (byte && byte != value_of(page, nr))
				wrong("a load", page);
		}
	}
	return NULL;
}

static void want_zeroes(dax_pgoff_t page)
{
	if (load_byte(0, page, 9) || load_byte(1, page, 9) || file_byte(page, 9))
		wrong("a page that was cut off", page);
}

static void *cutter(void *arg)
{
	struct actor *a = arg;

	while (!over) {
		dax_pgoff_t page = STABLE + rnd(&a->seed, MOST - STABLE);
		int value = (int)(1 + rnd(&a->seed, 200));
		unsigned int map = rnd(&a->seed, 2);

		store_byte(map, page, 9, value);
		if (load_byte(map, page, 9) != value)
			wrong("what the cutter has stored", page);
		if (rnd(&a->seed, 2)) {
			if (dax_mapping_punch_hole(fx.file, (dax_loff_t)(page << DAX_PAGE_SHIFT),
						   DAX_PAGE_SIZE << rnd(&a->seed, 10)))
				wrong("punch", page);
		} else if (dax_mapping_truncate(fx.file, (dax_loff_t)(page << DAX_PAGE_SHIFT)) ||
			   dax_mapping_truncate(fx.file, (dax_loff_t)MOST << DAX_PAGE_SHIFT)) {
			wrong("truncate", page);
		}
		want_zeroes(page);
	}
	return NULL;
}

/* ---- a round --------------------------------------------------------------------------------- */

static void start(struct actor *a, unsigned int nr, void *(*body)(void *arg))
{
	*a = (struct actor){ .nr = nr, .seed = 17 * round_nr + nr };
	MUST(!pthread_create(&a->thread, NULL, body, a));
}

static _Atomic bool settling, settled;

/*
 * A thread that serves faults may be at the end of one, when who touched the page has
 * been woken by something else: it gives blocks to stores that met zeroes.  It serves
 * one at a time, so a touch of ours is after that; its hook says so to TSan.
 */
static void settle(void)
{
	const dax_pgoff_t first = MOST - PMD_PAGES;

	MUST(!dax_mapping_punch_hole(fx.file, (dax_loff_t)(first << DAX_PAGE_SHIFT),
				     (uint64_t)PMD_PAGES << DAX_PAGE_SHIFT));
	settled = false;
	settling = true;
	EQ(load_byte(0, first, 9), 0);
	CHECK(settled);
	settling = false;
}

static unsigned int count_lost(void)
{
	unsigned int lost = 0;

	for (dax_pgoff_t page = 0; page < STABLE; page++)
		for (unsigned int nr = 0; nr < WRITERS; nr++)
			lost += file_byte(page, nr) != value_of(page, nr);
	return lost;
}

static unsigned int run_round(void *(*body)(void *arg), bool cut)
{
	struct actor writers[WRITERS], readers[READERS], cutting;

	MUST(!dax_mapping_punch_hole(fx.file, 0, (uint64_t)MOST << DAX_PAGE_SHIFT));
	over = false;
	for (unsigned int i = 0; i < READERS; i++)
		start(&readers[i], i, reader);
	if (cut)
		start(&cutting, 9, cutter);
	for (unsigned int i = 0; i < WRITERS; i++)
		start(&writers[i], i, body);
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	over = true;
	for (unsigned int i = 0; i < READERS; i++)
		pthread_join(readers[i].thread, NULL);
	if (cut)
		pthread_join(cutting.thread, NULL);
	settle();
	return count_lost();
}

/* Zeroes stay unprotected for a while: stores may come. */
static void linger(enum dax_test_point point)
{
	if (READ_ONCE(settling))
		settled = true;
	if (point != DAX_TEST_ZEROES_INSERTED) {
		jitter(point);
		return;
	}
	for (int i = 0; i < 3; i++)
		sched_yield();
}

static void map(unsigned int i, unsigned int pages, uint64_t around, unsigned int delivery)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .flags = RW_SHARED, .pages = pages,
		.length = (uint64_t)MOST << DAX_PAGE_SHIFT, .backend = DAX_BACKEND_REAL,
		.delivery = delivery, .fault_around = around,
	};

	MUST(!dax_vma_new(&vma[i], fx.file, &attr));
	mem[i] = dax_vma_address(vma[i]);
}

/* The thread that serves faults outlives the mappings: what it is to see, hooks too,
 * is set while there are none. */
static void open_file(unsigned int policy, void (*yield)(enum dax_test_point point))
{
	nr_wrong = 0;
	dax_test.yield = yield;
	fx_file((dax_loff_t)MOST << DAX_PAGE_SHIFT, policy, NULL);
}

static void map_both(unsigned int policy, unsigned int delivery)
{
	map(0, DAX_PAGES_AUTO, DAX_FAULT_AROUND_DEFAULT, delivery);
	map(1, DAX_PAGES_PTE, policy ? 0 : 64 * DAX_PAGE_SIZE, delivery);
}

static void open_both(unsigned int policy, unsigned int delivery)
{
	open_file(policy, linger);
	map_both(policy, delivery);
}

static void unmap_both(void)
{
	dax_vma_put(vma[0]);
	dax_vma_put(vma[1]);
}

static void close_file(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	fx_close();
}

static void close_both(void)
{
	unmap_both();
	close_file();
}

static void stress_with(unsigned int policy, unsigned int delivery, bool calls)
{
	unsigned int nr = times * (calls ? CALL_ROUNDS : ROUNDS);

	open_both(policy, delivery);
	for (round_nr = 0; round_nr < nr; round_nr++)
		EQ(run_round(calls ? caller : writer, round_nr % 2), 0);
	EQ(nr_wrong, 0);
	EQ(dax_mapping_fsync(fx.file, NULL), 0);
	check_invariants(fx.file);
	check_addresses(fx.file);
	close_both();
}

static void stress(unsigned int policy, unsigned int delivery)
{
	stress_with(policy, delivery, false);
}

/* Without rights the kernel's own touches are not told of. */
static bool calls_are_served(void)
{
	int fd[2];
	bool served;

	open_both(DAX_POLICY_ZERO_PAGE, DAX_DELIVERY_THREAD);
	MUST(!pipe(fd) && write(fd[1], "x", 1) == 1);
	served = call_stores(fd[0], 0, 0, 0);
	close(fd[0]);
	close(fd[1]);
	close_both();
	if (!served)
		printf("# needs root, or access to /dev/userfaultfd\n");
	return served;
}

static void zero_page_calls(void)
{
	if (calls_are_served())
		stress_with(DAX_POLICY_ZERO_PAGE, DAX_DELIVERY_THREAD, true);
}

static void page_cache_calls(void)
{
	if (calls_are_served())
		stress_with(DAX_POLICY_PAGE_CACHE, DAX_DELIVERY_THREAD, true);
}

static void zero_page_thread(void)
{
	stress(DAX_POLICY_ZERO_PAGE, DAX_DELIVERY_THREAD);
}

static void zero_page_signal(void)
{
	stress(DAX_POLICY_ZERO_PAGE, DAX_DELIVERY_SIGNAL);
}

static void page_cache_thread(void)
{
	stress(DAX_POLICY_PAGE_CACHE, DAX_DELIVERY_THREAD);
}

static void page_cache_signal(void)
{
	stress(DAX_POLICY_PAGE_CACHE, DAX_DELIVERY_SIGNAL);
}

/* ---- fsync beside stores ------------------------------------------------------------------------- */

enum { SYNCED = 64, SYNCS = 300 };

static const struct persist_ops *medium;
static _Atomic uint32_t durable[SYNCED], made[SYNCED];

/* What is durable: the page's number and value are its first word. */
static int note_flush(struct dax_device *dev, const void *addr, size_t len)
{
	for (size_t i = 0; i < len; i += DAX_PAGE_SIZE) {
		uint64_t word = __atomic_load_n((const uint64_t *)((const char *)addr + i),
						__ATOMIC_RELAXED);

		if (word)
			durable[(word >> 32) - 1] = (uint32_t)word;
	}
	return medium->flush(dev, addr, len);
}

static UNWATCHED void store_word(unsigned int map, dax_pgoff_t page, uint32_t value)
{
	__atomic_store_n((uint64_t *)(void *)(mem[map] + (page << DAX_PAGE_SHIFT)),
			 (uint64_t)(page + 1) << 32 | value, __ATOMIC_RELAXED);
}

static void *counter(void *arg)
{
	struct actor *a = arg;
	uint32_t value = 0;

	while (!over) {
		dax_pgoff_t page = rnd(&a->seed, SYNCED / WRITERS) * WRITERS + a->nr;

		store_word(rnd(&a->seed, 2), page, ++value);
		made[page] = value;
	}
	return NULL;
}

/* Of what was stored before it began, an fsync has left nothing out. */
static unsigned int sync_once(void)
{
	uint32_t before[SYNCED];
	unsigned int lost = 0;

	for (unsigned int i = 0; i < SYNCED; i++)
		before[i] = made[i];
	MUST(!dax_mapping_fsync(fx.file, NULL));
	for (unsigned int i = 0; i < SYNCED; i++)
		lost += durable[i] < before[i];
	return lost;
}

static void sync_beside_stores(const char *disable, unsigned int delivery)
{
	struct persist_ops ops;
	struct actor writers[WRITERS];
	unsigned int lost = 0;

	open_file(DAX_POLICY_ZERO_PAGE, jitter);
	medium = fx.dev->persist;
	ops = *medium;
	ops.flush = note_flush;
	fx.dev->persist = &ops;
	memset(durable, 0, sizeof(durable));
	memset(made, 0, sizeof(made));
	setenv("DAXCORE_DISABLE", disable, 1);
	map_both(DAX_POLICY_ZERO_PAGE, delivery);
	unsetenv("DAXCORE_DISABLE");
	over = false;
	for (unsigned int i = 0; i < WRITERS; i++)
		start(&writers[i], i, counter);
	for (unsigned int i = 0; i < SYNCS; i++)
		lost += sync_once();
	over = true;
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	EQ(lost, 0);
	EQ(sync_once(), 0);
	check_invariants(fx.file);
	unmap_both();
	fx.dev->persist = medium;
	close_file();
}

static void sync_async(void)
{
	sync_beside_stores("", DAX_DELIVERY_THREAD);
	sync_beside_stores("", DAX_DELIVERY_SIGNAL);
}

static void sync_protect(void)
{
	sync_beside_stores("wp_async", DAX_DELIVERY_THREAD);
	sync_beside_stores("wp_async", DAX_DELIVERY_SIGNAL);
}

static void sync_conservative(void)
{
	sync_beside_stores("wp_async,wp_shmem", DAX_DELIVERY_THREAD);
}

/* ---- rules taken out ---------------------------------------------------------------------------- */

/* In a child, which is quiet: are bytes missing before the last round? */
static bool loses(enum dax_test_mutation which)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (!pid) {
		unsigned int lost = 0;

		MUST(freopen("/dev/null", "w", stdout));
		dax_test.mutation = which;
		open_both(DAX_POLICY_ZERO_PAGE, DAX_DELIVERY_SIGNAL);
		for (round_nr = 0; !lost && round_nr < 4 * ROUNDS; round_nr++)
			lost = run_round(writer, false);
		_exit(lost ? 1 : 0);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	MUST(WIFEXITED(status));
	return WEXITSTATUS(status) == 1;
}

static void no_protection(void)
{
	CHECK(loses(DAX_MUTATE_NO_PROTECT));
}

static void late_protection(void)
{
	CHECK(loses(DAX_MUTATE_PROTECT_LATE));
}

static bool has_uffd(void)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (!pid) {
		struct dax_vma_attr attr = {
			.struct_size = sizeof(attr), .flags = RW_SHARED,
			.length = DAX_PAGE_SIZE, .backend = DAX_BACKEND_REAL,
		};

		fx_open(1);
		_exit(dax_vma_new(&vma[0], fx.file, &attr) != 0);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	return !status;
}

int main(int argc, char **argv)
{
	if (!has_uffd())
		skip_all("needs uffd: a kernel and a container that allow userfaultfd(2)");
	if (argc > 1)
		times = (unsigned int)atoi(argv[1]);
	plan(11);
	run("zeroes that are not protected: stores are lost", no_protection);
	run("strays looked for before protection: stores are lost", late_protection);
	run("zero page, thread", zero_page_thread);
	run("zero page, signal", zero_page_signal);
	run("page cache, thread", page_cache_thread);
	run("page cache, signal", page_cache_signal);
	run("zero page, system calls", zero_page_calls);
	run("page cache, system calls", page_cache_calls);
	run("fsync beside stores, wp-async", sync_async);
	run("fsync beside stores, write-protect", sync_protect);
	run("fsync beside stores, conservative", sync_conservative);
	return done();
}

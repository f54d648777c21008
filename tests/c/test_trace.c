/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_trace.c -- rings, readers, losses; the events of each kind of fault
 *
 * The first part records made-up events of made-up files, the second lets
 * faults make them.
 */
#include "trace.h"

#include <pthread.h>
#include <sys/wait.h>

#include "fixture.h"
#include "fs_dax.h"
#include "oom.h"
#include "policy.h"

enum { INO = 1000000, OTHER = 1000001 };	/* files nobody has */

static struct dax_trace_event got[4096];

/* ---- by hand ------------------------------------------------------------------- */

static struct dax_trace *start(uint64_t ino, size_t nr_events)
{
	struct dax_trace *trace = NULL;

	MUST(!trace_start(&trace, ino, nr_events));
	return trace;
}

static void record(uint64_t ino, dax_pgoff_t first, dax_pgoff_t nr)
{
	for (dax_pgoff_t i = first; i < first + nr; i++) {
		/* Each word says which event it is of. */
		struct dax_trace_event event = {
			.ino = ino, .pgoff = i, .address = i, .vm_start = i,
			.vm_end = i, .max_pgoff = i, .radix_entry = i, .pfn = i,
		};

		trace_record(&event);
	}
}

static bool is_whole(const struct dax_trace_event *e)
{
	dax_pgoff_t i = e->pgoff;

	return e->address == i && e->vm_start == i && e->vm_end == i &&
	       e->max_pgoff == i && e->radix_entry == i && e->pfn == i;
}

/* What is read are events [first, first+nr). */
static void expect(struct dax_trace *trace, dax_pgoff_t first, int64_t nr)
{
	EQ(trace_read(trace, got, 4096), nr);
	for (int64_t i = 0; i < nr; i++) {
		EQ(got[i].pgoff, first + (uint64_t)i);
		CHECK(is_whole(&got[i]));
		CHECK(!i || got[i].time >= got[i - 1].time);
	}
}

static void in_thread(void *(*body)(void *), void *arg)
{
	pthread_t thread;

	MUST(!pthread_create(&thread, NULL, body, arg));
	pthread_join(thread, NULL);
}

static void *record_ten(void *arg)
{
	record(INO, (dax_pgoff_t)(uintptr_t)arg, 10);
	return NULL;
}

static void off(void)
{
	struct dax_trace *trace;

	CHECK(!trace_enabled());
	record(INO, 0, 10);
	trace = start(INO, 0);
	CHECK(trace_enabled());
	expect(trace, 0, 0);
	record(INO, 10, 3);
	trace_stop(trace);
	CHECK(!trace_enabled());
	trace_stop(trace);
	CHECK(!trace_enabled());
	record(INO, 13, 5);
	expect(trace, 10, 3);
	expect(trace, 0, 0);
	EQ(trace_lost(trace), 0);
	trace_free(trace);
	trace_free(NULL);
	CHECK(!trace_enabled());
}

/* A ring of 16 keeps 15: one may be in the making. */
static void wraps_around(void)
{
	struct dax_trace *trace = start(INO, 15);

	record(INO, 0, 15);
	EQ(trace_lost(trace), 0);
	expect(trace, 0, 15);
	record(INO, 15, 40);
	EQ(trace_lost(trace), 25);
	expect(trace, 40, 15);
	EQ(trace_lost(trace), 25);
	record(INO, 55, 16);
	EQ(trace_lost(trace), 26);
	expect(trace, 56, 15);
	EQ(trace_lost(trace), 26);
	trace_free(trace);
}

static void keeps_what_was_asked_for(void)
{
	static const size_t sizes[] = { 1, 15, 16, 17, 100, 1023, 1024 };

	for (unsigned int i = 0; i < 7; i++) {
		struct dax_trace *trace = start(INO, sizes[i]);

		record(INO, 0, 5000);
		record(INO, 5000, sizes[i]);
		CHECK(trace_read(trace, got, 4096) >= (int64_t)sizes[i]);
		CHECK(is_whole(&got[0]));
		trace_free(trace);
	}
}

/* In small helpings, while the thread goes on. */
static void cursor(void)
{
	struct dax_trace *trace = start(INO, 100);

	record(INO, 0, 10);
	EQ(trace_read(trace, got, 4), 4);
	EQ(got[3].pgoff, 3);
	record(INO, 10, 2);
	EQ(trace_read(trace, got, 4), 4);
	EQ(got[0].pgoff, 4);
	EQ(trace_read(trace, got, 0), 0);
	/* 10 and 11 came after the first helping. */
	expect(trace, 8, 2);
	expect(trace, 10, 2);
	expect(trace, 0, 0);
	trace_free(trace);
}

static void files_apart(void)
{
	struct dax_trace *one = start(INO, 0), *all, *two;

	record(OTHER, 0, 5);
	all = start(0, 0);
	record(OTHER, 5, 5);
	two = start(OTHER, 0);
	record(INO, 10, 5);
	record(OTHER, 15, 5);
	trace_stop(two);
	record(OTHER, 20, 5);
	expect(one, 10, 5);
	expect(two, 15, 5);
	expect(all, 5, 20);
	trace_free(one);
	record(INO, 25, 1);
	trace_free(two);
	expect(all, 25, 1);
	EQ(trace_lost(all), 0);
	trace_free(all);
}

/* What went before it is not lost to a trace. */
static void starts_at_zero(void)
{
	struct dax_trace *early = start(INO, 15), *late;

	record(INO, 0, 100);
	late = start(INO, 15);
	EQ(trace_lost(early), 85);
	EQ(trace_lost(late), 0);
	record(INO, 100, 10);
	expect(late, 100, 10);
	EQ(trace_lost(late), 0);
	trace_free(early);
	trace_free(late);
}

/* The thread has no ring here: the first event makes one, others' do not. */
static void *unwanted(void *arg)
{
	struct dax_trace *trace = start(INO, 0);

	(void)arg;
	oom_fail_from(1);
	record(OTHER, 0, 10);
	CHECK(!oom_fired());
	EQ(trace_lost(trace), 0);
	oom_clear();
	trace_free(trace);
	return NULL;
}

static void unwanted_files_cost_nothing(void)
{
	in_thread(unwanted, NULL);
}

/* The writer comes round after the reader has copied a record and before it
 * looks at the head again. */
static dax_pgoff_t overtaking;

static void overtake(enum dax_test_point point)
{
	dax_pgoff_t nr = overtaking;

	if (point != DAX_TEST_TRACE_COPIED)
		return;
	overtaking = 0;
	record(INO, 100, nr);
}

static void overtaken(dax_pgoff_t nr, dax_pgoff_t first, uint64_t lost)
{
	struct dax_trace *trace = start(INO, 15);
	int64_t read;

	record(INO, 85, 15);
	overtaking = nr;
	dax_test.yield = overtake;
	read = trace_read(trace, got, 1);
	dax_test.yield = NULL;
	if (!read)	/* all that there was is gone: what came is for later */
		EQ(trace_read(trace, got, 1), 1);
	EQ(got[0].pgoff, first);
	EQ(trace_lost(trace), lost);
	read = trace_read(trace, got, 4096);
	EQ(read + trace_read(trace, got, 4096), 100 + nr - first - 1);
	trace_free(trace);
}

static void never_torn(void)
{
	overtaken(0, 85, 0);
	/* Record 85 is whole until the one that takes its place is begun,
	 * which may be right after event 100. */
	overtaken(1, 86, 1);
	overtaken(2, 87, 2);
	overtaken(100, 185, 100);
}

/* ---- threads -------------------------------------------------------------------- */

static unsigned int nr_allocations;

static bool count_allocations(size_t size)
{
	(void)size;
	nr_allocations++;
	return false;
}

static void *start_and_record(void *arg)
{
	struct dax_trace *trace = start(INO, 15);

	(void)arg;
	record(INO, 0, 1);
	trace_free(trace);
	return NULL;
}

static void ended_threads(void)
{
	struct dax_trace *trace = start(INO, 15);

	for (uintptr_t i = 0; i < 5; i++)
		in_thread(record_ten, (void *)(10 * i));
	EQ(trace_read(trace, got, 4096), 50);
	for (int i = 0; i < 50; i++)
		CHECK(is_whole(&got[i]) && got[i].thread != sys_gettid());
	EQ(trace_lost(trace), 0);

	/* All is read: the rings are taken again. */
	dax_test.fail_alloc = count_allocations;
	nr_allocations = 0;
	in_thread(record_ten, NULL);
	EQ(nr_allocations, 0);
	in_thread(record_ten, (void *)10);
	EQ(trace_read(trace, got, 4096), 20);

	/* Of no use to anybody: they go with the last trace. */
	trace_free(trace);
	trace = start(INO, 15);
	nr_allocations = 0;
	in_thread(record_ten, NULL);
	EQ(nr_allocations, 2);
	trace_free(trace);

	/* The same when they end after it. */
	in_thread(start_and_record, NULL);
	trace = start(INO, 15);
	nr_allocations = 0;
	in_thread(record_ten, NULL);
	EQ(nr_allocations, 2);
	dax_test.fail_alloc = NULL;
	trace_free(trace);
}

static void many_ended_threads(void)
{
	struct dax_trace *trace = start(INO, 1000);

	dax_test.fail_alloc = count_allocations;
	nr_allocations = 0;
	for (uintptr_t i = 0; i < TRACE_MAX_RINGS + 40; i++)
		in_thread(record_ten, (void *)(10 * i));
	dax_test.fail_alloc = NULL;
	CHECK(nr_allocations <= 2 * TRACE_MAX_RINGS);
	EQ(trace_read(trace, got, 4096), 10 * (TRACE_MAX_RINGS + 40));
	EQ(trace_lost(trace), 0);
	trace_free(trace);
}

static void longer_rings(void)
{
	struct dax_trace *small = start(INO, 15), *large;

	record(INO, 0, 15);
	large = start(INO, 100);
	record(INO, 15, 100);
	EQ(trace_read(small, got, 4096), 115);
	expect(large, 15, 100);
	EQ(trace_lost(small) + trace_lost(large), 0);
	trace_free(large);
	record(INO, 0, 5);
	expect(small, 0, 5);
	trace_free(small);
}

/* ---- limits ----------------------------------------------------------------------- */

static void too_many(void)
{
	struct dax_trace *traces[TRACE_MAX], *none = NULL;

	for (int i = 0; i < TRACE_MAX; i++)
		traces[i] = start(INO, 15);
	EQ(trace_start(&none, INO, 15), -EBUSY);
	CHECK(errormsg_has("64 traces"));
	record(INO, 0, 3);
	expect(traces[TRACE_MAX - 1], 0, 3);
	trace_free(traces[5]);
	CHECK(trace_enabled());
	traces[5] = start(INO, 15);
	expect(traces[5], 0, 0);
	for (int i = 0; i < TRACE_MAX; i++)
		trace_free(traces[i]);
	CHECK(!trace_enabled());
	EQ(trace_start(&none, INO, TRACE_MAX_EVENTS + 1), -EINVAL);
	CHECK(errormsg_has("16777217"));
	CHECK(!none && !trace_enabled());
}

static void *lose(void *arg)
{
	struct dax_trace *trace = arg;

	OOM_LOOP(n) {
		oom_fail_nth(n);
		record(INO, 0, 1);
		oom_clear();
		if (!oom_fired())
			break;
		EQ(trace_read(trace, got, 4096), 0);
		EQ(trace_lost(trace), n);
	}
	EQ(oom_rounds(), 2);	/* a ring and its records */
	expect(trace, 0, 1);
	EQ(trace_lost(trace), 2);
	return NULL;
}

static void no_memory(void)
{
	struct dax_trace *trace = NULL;

	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = trace_start(&trace, INO, 15);
		oom_clear();
		if (!oom_fired())
			break;
		EQ(ret, -ENOMEM);
		CHECK(!trace && !trace_enabled());
	}
	CHECK(oom_rounds() > 0);
	in_thread(lose, trace);
	trace_stop(trace);
	EQ(trace_lost(trace), 2);	/* and stays so */
	trace_free(trace);
}

/* A tool is attached to a probe: events are made, and nobody keeps them. */
static void attached_tool(void)
{
	struct dax_trace *trace;

	WRITE_ONCE(trace_switch.semaphore, 1);
	CHECK(trace_enabled());
	record(INO, 0, 3);
	trace = start(INO, 15);
	expect(trace, 0, 0);
	trace_free(trace);
	CHECK(trace_enabled());
	WRITE_ONCE(trace_switch.semaphore, 0);
	CHECK(!trace_enabled());
}

/* ---- fork --------------------------------------------------------------------------- */

static int child(struct dax_trace *parents, struct dax_mapping *file)
{
	struct dax_trace *own = NULL;

	CHECK(!trace_enabled());
	EQ(dax_trace_read(parents, got, 4096), -ESTALE);
	CHECK(errormsg_has("fork"));
	EQ(dax_trace_lost(parents), 0);
	dax_trace_stop(parents);
	dax_trace_free(parents);
	EQ(dax_trace_start(&own, file, 15), -ESTALE);
	own = start(0, 15);
	expect(own, 0, 0);
	record(INO, 7, 3);
	expect(own, 7, 3);
	EQ(got[0].thread, sys_gettid());
	in_thread(record_ten, NULL);
	expect(own, 0, 10);
	trace_free(own);
	return tap_bad != 0;
}

static void forked(void)
{
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *file = new_file(dev, 1 << 20);
	struct dax_trace *trace = start(0, 15);
	int status = -1;
	pid_t pid;

	record(INO, 0, 20);
	pid = fork();
	if (!pid)
		_exit(child(trace, file));
	EQ(waitpid(pid, &status, 0), pid);
	EQ(status, 0);
	record(INO, 20, 1);
	expect(trace, 6, 15);
	EQ(trace_lost(trace), 6);
	trace_free(trace);
	dax_mapping_put(file);
	dax_device_put(dev);
}

/* ---- events ---------------------------------------------------------------------------- */

static struct dax_trace *trace;
static int64_t nr_got, at;

static void read_events(void)
{
	nr_got = dax_trace_read(trace, got, 4096);
	at = 0;
}

/* The next event of those read, which must be @event. */
static const struct dax_trace_event *next(unsigned int event)
{
	static const struct dax_trace_event none;

	CHECK(at < nr_got);
	if (at >= nr_got)
		return &none;
	EQ(got[at].event, event);
	return &got[at++];
}

static void no_more(void)
{
	EQ(at, nr_got);
}

static void expect_fault(unsigned int event, dax_pgoff_t pgoff, bool write,
			 dax_vm_fault_t result)
{
	const struct dax_trace_event *e = next(event);

	EQ(e->pgoff, pgoff);
	EQ(e->write, write);
	EQ(e->result, result);
}

static void pte_events(void)
{
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *file = new_file(dev, 1 << 20);
	struct dax_vma *vma = map_pages(file, 1 << 20, RW | DAX_VM_SHARED, DAX_PAGES_PTE);
	struct dax_vma *copy = map_pages(file, 1 << 20, RW, DAX_PAGES_PTE);
	const struct dax_trace_event *e;

	MUST(!dax_trace_start(&trace, file, 0));
	EQ(load(vma, 3 * PAGE), 0);
	read_events();
	expect_fault(DAX_TRACE_PTE_FAULT, 3, false, 0);
	e = next(DAX_TRACE_LOAD_HOLE);
	EQ(e->ino, dax_mapping_ino(file));
	EQ(e->address & (PMD - 1), 3 * PAGE);
	EQ(e->shared, 1);
	EQ(e->result, DAX_VM_FAULT_NOPAGE);
	EQ(e->thread, sys_gettid());
	expect_fault(DAX_TRACE_PTE_FAULT_DONE, 3, false, DAX_VM_FAULT_NOPAGE);
	no_more();

	EQ(store(vma, 3 * PAGE, 1), 0);
	read_events();
	expect_fault(DAX_TRACE_PTE_FAULT, 3, true, 0);
	e = next(DAX_TRACE_INSERT_MAPPING);
	EQ(e->nr_pages, 1);
	EQ(e->radix_entry, e->pfn << DAX_ENTRY_SHIFT | DAX_LOCKED | DAX_EXCEPTIONAL);
	expect_fault(DAX_TRACE_PTE_FAULT_DONE, 3, true,
		     DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR);
	no_more();

	EQ(store(copy, 3 * PAGE, 2), 0);
	read_events();
	e = next(DAX_TRACE_PTE_FAULT);
	EQ(e->shared, 0);
	EQ(e->write, 1);
	expect_fault(DAX_TRACE_PTE_FAULT_DONE, 3, true, DAX_VM_FAULT_DONE_COW);
	no_more();

	EQ(dax_mapping_truncate(file, 0), 0);
	EQ(load(vma, PAGE), -1);
	read_events();
	expect_fault(DAX_TRACE_PTE_FAULT, 1, false, 0);
	e = next(DAX_TRACE_PTE_FAULT_DONE);
	EQ(e->result, DAX_VM_FAULT_SIGBUS);
	EQ(e->error, -EFAULT);
	no_more();
	dax_trace_free(trace);
	dax_vma_put(copy);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_device_put(dev);
}

static void expect_fallback(dax_pgoff_t pgoff, bool write, int reason)
{
	const struct dax_trace_event *e = next(DAX_TRACE_PMD_FAULT_DONE);

	EQ(e->pgoff, pgoff);
	EQ(e->write, write);
	EQ(e->result, DAX_VM_FAULT_FALLBACK);
	EQ(e->reason, reason);
}

static void pmd_events(void)
{
	struct dax_device *dev = new_device(16 << 20);
	struct dax_mapping *file = new_file(dev, 4 * PMD);
	struct dax_vma *vma = map_shared(file, 4 * PMD);
	const struct dax_trace_event *e;

	MUST(!dax_trace_start(&trace, file, 0));
	EQ(load(vma, PMD + PAGE), 0);
	read_events();
	e = next(DAX_TRACE_PMD_FAULT);
	EQ(e->pgoff, 513);
	EQ(e->max_pgoff, 4 * 512);
	EQ(e->vm_end - e->vm_start, 4 * PMD);
	EQ(e->address - e->vm_start, PMD + PAGE);
	EQ(e->result, 0);
	e = next(DAX_TRACE_PMD_LOAD_HOLE);
	EQ(e->pfn, DAX_HUGE_ZERO_PFN);
	EQ(e->radix_entry, DAX_PMD | DAX_ZERO_PAGE | DAX_LOCKED | DAX_EXCEPTIONAL);
	expect_fault(DAX_TRACE_PMD_FAULT_DONE, 513, false, DAX_VM_FAULT_NOPAGE);
	no_more();

	EQ(store(vma, 2 * PMD, 1), 0);
	read_events();
	expect_fault(DAX_TRACE_PMD_FAULT, 1024, true, 0);
	e = next(DAX_TRACE_PMD_INSERT_MAPPING);
	EQ(e->nr_pages, 512);
	EQ(e->pfn & 511, 0);
	CHECK(e->radix_entry & DAX_PMD);
	expect_fault(DAX_TRACE_PMD_FAULT_DONE, 1024, true,
		     DAX_VM_FAULT_NOPAGE | DAX_VM_FAULT_MAJOR);
	no_more();

	EQ(put(file, 0, 1), 0);		/* one block: no 2 MiB of it */
	EQ(load(vma, PAGE), 0);
	read_events();
	next(DAX_TRACE_PMD_FAULT);
	expect_fallback(1, false, DAX_FALLBACK_SHORT_EXTENT);
	expect_fault(DAX_TRACE_PTE_FAULT, 1, false, 0);
	next(DAX_TRACE_LOAD_HOLE);
	e = next(DAX_TRACE_PTE_FAULT_DONE);
	EQ(e->reason, 0);	/* of this fault, not of the one before */
	no_more();

	dax_test.no_huge_zero = true;
	EQ(load(vma, 3 * PMD), 0);
	dax_test.no_huge_zero = false;
	read_events();
	next(DAX_TRACE_PMD_FAULT);
	e = next(DAX_TRACE_PMD_LOAD_HOLE_FALLBACK);
	EQ(e->reason, DAX_FALLBACK_NO_HUGE_ZERO);
	EQ(e->radix_entry, 0);
	expect_fallback(3 * 512, false, DAX_FALLBACK_NO_HUGE_ZERO);
	EQ(nr_got - at, 3);
	dax_trace_free(trace);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_device_put(dev);
}

/* 2 MiB of file on blocks that are not aligned to 2 MiB. */
static int unaligned_begin(struct dax_mapping *mapping, void *private_data,
			   dax_loff_t pos, uint64_t length, unsigned int flags,
			   struct dax_iomap *iomap)
{
	(void)mapping;
	(void)private_data;
	(void)length;
	(void)flags;
	(void)pos;
	*iomap = (struct dax_iomap){ .type = DAX_IOMAP_MAPPED, .addr = PAGE,
				     .length = (uint64_t)PMD,
				     .dax_dev = iomap->dax_dev };
	return 0;
}

static void pmd_insert_fallback(void)
{
	static const struct dax_iomap_ops ops = {
		.struct_size = sizeof(ops), .iomap_begin = unaligned_begin,
	};
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = PMD,
					 .ops = &ops };
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *file;
	struct dax_vma *vma;

	MUST(!dax_mapping_new(&file, dev, &attr));
	vma = map_shared(file, PMD);
	MUST(!dax_trace_start(&trace, NULL, 0));
	EQ(load(vma, 0), 0);
	read_events();
	next(DAX_TRACE_PMD_FAULT);
	EQ(next(DAX_TRACE_PMD_INSERT_MAPPING_FALLBACK)->reason,
	   DAX_FALLBACK_UNALIGNED_PFN);
	expect_fallback(0, false, DAX_FALLBACK_UNALIGNED_PFN);
	next(DAX_TRACE_PTE_FAULT);
	next(DAX_TRACE_INSERT_MAPPING);
	next(DAX_TRACE_PTE_FAULT_DONE);
	no_more();
	dax_trace_free(trace);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_device_put(dev);
}

/* The second step of a write to a page whose entry has gone meanwhile. */
static void mkwrite(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	struct dax_vm_fault vmf = { .vma = vma, .pgoff = pgoff, .write = true };

	MUST(!mapping_lock_shared(vma->mapping, &vmf.area));
	EQ(vma->mapping->policy->pfn_mkwrite(&vmf) & DAX_VM_FAULT_ERROR, 0);
	mapping_unlock_shared(vma->mapping, vmf.area);
}

/* The second fault of a write, and one that finds nothing. */
static void page_cache_events(void)
{
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *file = new_cached_file(dev, 1 << 20, DAX_PAGE_POOL_COLD);
	struct dax_vma *vma = map_pages(file, 1 << 20, RW | DAX_VM_SHARED, DAX_PAGES_PTE);

	MUST(!dax_trace_start(&trace, file, 0));
	EQ(load(vma, 0), 0);
	EQ(store(vma, 0, 1), 0);
	read_events();
	next(DAX_TRACE_PTE_FAULT);
	EQ(next(DAX_TRACE_LOAD_HOLE)->result, DAX_VM_FAULT_NOPAGE);
	next(DAX_TRACE_PTE_FAULT_DONE);
	/* A page stands there: the ordinary fault fills it. */
	expect_fault(DAX_TRACE_PTE_FAULT, 0, true, 0);
	next(DAX_TRACE_INSERT_MAPPING);
	next(DAX_TRACE_PTE_FAULT_DONE);
	expect_fault(DAX_TRACE_PFN_MKWRITE, 0, true, DAX_VM_FAULT_NOPAGE);
	no_more();

	mkwrite(vma, 5);
	read_events();
	expect_fault(DAX_TRACE_PFN_MKWRITE_NO_ENTRY, 5, true, DAX_VM_FAULT_NOPAGE);
	next(DAX_TRACE_PTE_FAULT);
	dax_trace_free(trace);
	dax_vma_put(vma);
	dax_mapping_put(file);
	dax_device_put(dev);
}

static void writeback_events(void)
{
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *file = new_file(dev, 1 << 20);
	const struct dax_trace_event *e;

	trace_dax_writeback_range(file, 1, 2);	/* nobody looks */
	MUST(!dax_trace_start(&trace, file, 0));
	trace_dax_writeback_range(file, 3, 700);
	trace_dax_writeback_one(file, 512, 512);
	trace_dax_writeback_range_done(file, 600, 700);
	read_events();
	e = next(DAX_TRACE_WRITEBACK_RANGE);
	EQ(e->ino, dax_mapping_ino(file));
	EQ(e->pgoff, 3);
	EQ(e->max_pgoff, 700);
	e = next(DAX_TRACE_WRITEBACK_ONE);
	EQ(e->pgoff, 512);
	EQ(e->nr_pages, 512);
	EQ(e->max_pgoff, 0);
	e = next(DAX_TRACE_WRITEBACK_RANGE_DONE);
	EQ(e->pgoff, 600);
	EQ(e->max_pgoff, 700);
	no_more();
	dax_trace_free(trace);
	dax_mapping_put(file);
	dax_device_put(dev);
}

/* The trace holds nothing of the file. */
static void file_goes_first(void)
{
	struct dax_device *dev = new_device(4 << 20);
	struct dax_mapping *file = new_file(dev, PAGE), *next_file;
	struct dax_vma *vma = map_shared(file, PAGE);
	uint64_t ino = dax_mapping_ino(file);

	MUST(!dax_trace_start(&trace, file, 0));
	EQ(load(vma, 0), 0);
	dax_vma_put(vma);
	dax_mapping_put(file);
	EQ(dax_device_nr_files(dev), 0);
	next_file = new_file(dev, PAGE);
	CHECK(dax_mapping_ino(next_file) != ino);
	vma = map_shared(next_file, PAGE);
	EQ(load(vma, 0), 0);
	read_events();
	EQ(nr_got, 5);
	for (int i = 0; i < nr_got; i++)
		EQ(got[i].ino, ino);
	dax_trace_free(trace);
	dax_vma_put(vma);
	dax_mapping_put(next_file);
	dax_device_put(dev);
}

static void event_names(void)
{
	for (int i = 0; i < DAX_NR_TRACE_EVENTS; i++) {
		const char *name = dax_trace_event_name(i);

		MUST(name && !strncmp(name, "dax_", 4));
		for (int j = 0; j < i; j++)
			CHECK(strcmp(name, dax_trace_event_name(j)));
	}
	CHECK(!dax_trace_event_name(-1));
	CHECK(!dax_trace_event_name(DAX_NR_TRACE_EVENTS));
	CHECK(!strcmp(dax_trace_event_name(DAX_TRACE_PMD_LOAD_HOLE_FALLBACK),
		      "dax_pmd_load_hole_fallback"));
	CHECK(!strcmp(dax_trace_event_name(DAX_TRACE_WRITEBACK_ONE), "dax_writeback_one"));
}

/* In a thread of its own, which has no ring yet: a thread keeps a long one. */
static void *fresh_main(void *arg)
{
	(*(void (**)(void))arg)();
	return NULL;
}

static void (*fresh_test)(void);

static void in_fresh_thread(void)
{
	in_thread(fresh_main, &fresh_test);
}

static void fresh(const char *name, void (*test)(void))
{
	fresh_test = test;
	run(name, in_fresh_thread);
}

int main(void)
{
	plan(24);
	fresh("off, on, off", off);
	fresh("a full ring loses the oldest and counts them", wraps_around);
	fresh("as many events are kept as were asked for", keeps_what_was_asked_for);
	fresh("reading in helpings", cursor);
	fresh("each trace has the events of its file", files_apart);
	fresh("a trace begins when it is started", starts_at_zero);
	fresh("files that nobody traces make no ring", unwanted_files_cost_nothing);
	fresh("an overtaken reader throws its copy away", never_torn);
	fresh("events outlive their thread, rings are used again", ended_threads);
	fresh("rings of many ended threads are shared", many_ended_threads);
	fresh("a trace that wants longer rings", longer_rings);
	fresh("64 traces, 2^24 events", too_many);
	fresh("out of memory: lost and counted", no_memory);
	fresh("a tool attached to a probe", attached_tool);
	fresh("a forked child starts empty", forked);
	fresh("4 KiB faults", pte_events);
	fresh("2 MiB faults", pmd_events);
	fresh("a 2 MiB block that is not aligned", pmd_insert_fallback);
	fresh("page-cache policy", page_cache_events);
	fresh("writeback", writeback_events);
	fresh("a file that goes before its trace", file_goes_first);
	fresh("names", event_names);
	fresh("off again", off);
	fresh("full again", wraps_around);
	return done();
}

// A client of ClickHouse's HTTP interface as Go programs, Grafana's data source and the Collector's exporter are: what
// each step gave, as JSON on stdout. Arguments: address, user, password, compression, rows to insert and to read.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

var methods = map[string]clickhouse.CompressionMethod{
	"none": clickhouse.CompressionNone,
	"gzip": clickhouse.CompressionGZIP,
	"lz4":  clickhouse.CompressionLZ4,
	"zstd": clickhouse.CompressionZSTD,
}

type report struct {
	Version     string
	Parameters  []string
	Inserted    uint64
	Seconds     float64
	Streamed    int
	Sum         uint64
	Early, Late int32
	Canceled    bool
	Wrong       string
}

func main() {
	rows, err := strconv.Atoi(os.Args[5])
	check(err)
	ctx := context.Background()
	client := open(os.Args[3])
	made := report{}

	server, err := client.ServerVersion()
	check(err)
	made.Version = server.DisplayName
	check(client.Ping(ctx))

	made.Parameters = make([]string, 2)
	bound := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"s": "a'bü \\\\", "n": "41"}))
	check(client.QueryRow(bound, "SELECT {s:String}, toString({n:UInt8} + 1)").Scan(&made.Parameters[0], &made.Parameters[1]))

	began := time.Now()
	insert(ctx, client, rows)
	made.Seconds = time.Since(began).Seconds()
	check(client.QueryRow(ctx, "SELECT count() FROM otel_logs").Scan(&made.Inserted))

	found, err := client.Query(ctx, fmt.Sprintf("SELECT number FROM numbers(%d)", rows*100))
	check(err)
	for found.Next() {
		var number uint64
		check(found.Scan(&number))
		made.Streamed++
		made.Sum += number
	}
	check(found.Err())

	made.Early = code(client.Exec(ctx, "SELECT * FROM absent"))
	made.Late = code(drained(ctx, client, "SELECT number, randomPrintableASCII(30), throwIf(number = 499999) FROM numbers(500000)"))
	soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	made.Canceled = errors.Is(drained(soon, client, "SELECT count() FROM numbers(1000000000000)"), context.DeadlineExceeded)
	made.Wrong = fmt.Sprint(open("wrong").Ping(ctx))
	check(json.NewEncoder(os.Stdout).Encode(made))
}

func open(password string) driver.Conn {
	client, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "default", Username: os.Args[2], Password: password},
		Compression: &clickhouse.Compression{Method: methods[os.Args[4]], Level: 1},
		Settings:    clickhouse.Settings{"max_execution_time": 20},
	})
	check(err)
	return client
}

func insert(ctx context.Context, client driver.Conn, rows int) {
	batch, err := client.PrepareBatch(ctx, "INSERT INTO otel_logs (Timestamp, Body, LogAttributes, SeverityNumber)")
	check(err)
	for n := range rows {
		body := fmt.Sprintf("%d '\\\t\n ü %01000d", n, n)
		check(batch.Append(time.Now(), body, map[string]string{"n": strconv.Itoa(n)}, uint8(n%200)))
	}
	check(batch.Send())
}

func drained(ctx context.Context, client driver.Conn, sql string) error {
	rows, err := client.Query(ctx, sql)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func code(err error) int32 {
	var told *clickhouse.Exception
	if errors.As(err, &told) {
		return told.Code
	}
	fmt.Fprintln(os.Stderr, "no exception:", err)
	return 0
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

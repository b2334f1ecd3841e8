// Sends queries as Grafana's ClickHouse data source does: clickhouse-go through database/sql, over HTTP with gzip, each
// with a deadline, every value read as the type that the driver says it is. Arguments: address, user, password. The
// queries are a JSON array of strings on stdin; what came of each is a JSON array on stdout.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type answer struct {
	Columns []string
	Types   []string
	Rows    int
	Error   string
}

func main() {
	db := clickhouse.OpenDB(&clickhouse.Options{
		Addr:        []string{os.Args[1]},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "default", Username: os.Args[2], Password: os.Args[3]},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionGZIP},
		ClientInfo:  clickhouse.ClientInfo{Products: []struct{ Name, Version string }{{"grafana", "13.2.3"}}},
		ReadTimeout: time.Minute,
	})
	var queries []string
	check(json.NewDecoder(os.Stdin).Decode(&queries))
	check(db.Ping())
	answers := make([]answer, len(queries))
	for n, query := range queries {
		if err := ask(db, query, &answers[n]); err != nil {
			answers[n].Error = err.Error()
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(answers))
}

func ask(db *sql.DB, query string, into *answer) error {
	soon, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	rows, err := db.QueryContext(soon, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	row := make([]any, len(types))
	for n, each := range types {
		into.Columns = append(into.Columns, each.Name())
		into.Types = append(into.Types, each.DatabaseTypeName())
		row[n] = reflect.New(each.ScanType()).Interface()
	}
	for ; rows.Next(); into.Rows++ {
		if err := rows.Scan(row...); err != nil {
			return err
		}
	}
	return rows.Err()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

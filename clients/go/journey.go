// Command journey makes the calls of a user, with grpc-go stubs.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	authpb "pulsetrack.example/journey/gen/pulsetrack/auth/v1"
	patientpb "pulsetrack.example/journey/gen/pulsetrack/patient/v1"
)

func main() {
	connection, err := grpc.NewClient(
		strings.TrimPrefix(os.Getenv("URL"), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	tokens, err := authpb.NewAuthServiceClient(connection).Login(ctx, &authpb.LoginRequest{
		Email: "admin@pulsetrack.local", Password: os.Getenv("PASSWORD")})
	check(err)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+tokens.AccessToken)
	fmt.Println("logged in")
	visit(ctx, patientpb.NewPatientServiceClient(connection), fmt.Sprintf("n%x", time.Now().UnixNano()))
}

func visit(ctx context.Context, patients patientpb.PatientServiceClient, word string) {
	request := &patientpb.CreatePatientRequest{Patient: newPatient("Ana", word), RequestId: "ana-" + word}
	created, err := patients.CreatePatient(ctx, request)
	check(err)
	repeated, err := patients.CreatePatient(ctx, request)
	check(err)
	require(proto.Equal(created, repeated))
	_, err = patients.CreatePatient(ctx, &patientpb.CreatePatientRequest{Patient: newPatient("Rui", word)})
	check(err)
	fmt.Println("created once per request ID")

	_, err = patients.CreatePatient(ctx, &patientpb.CreatePatientRequest{
		Patient: &patientpb.Patient{Name: "Ana", Email: "x"}})
	fmt.Println("rejected:", describe(err))

	read, err := patients.GetPatient(ctx, &patientpb.GetPatientRequest{Id: created.Id})
	check(err)
	require(proto.Equal(created, read))
	found, page := 0, &patientpb.ListPatientsRequest{Query: word, PageSize: 1}
	for more := true; more; more = page.PageToken != "" {
		listed, err := patients.ListPatients(ctx, page)
		check(err)
		found += len(listed.Patients)
		page.PageToken = listed.NextPageToken
	}
	fmt.Println("listed:", found)

	watch, err := patients.WatchPatients(ctx, &patientpb.WatchPatientsRequest{})
	check(err)
	_, err = watch.Recv()
	check(err)
	change := &patientpb.UpdatePatientRequest{
		Patient:    &patientpb.Patient{Id: created.Id, Etag: created.Etag, Phone: "+351 21 000 000"},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"phone"}}}
	_, err = patients.UpdatePatient(ctx, change)
	check(err)
	revision := &patientpb.Revision{}
	for revision.GetPatient().GetId() != created.Id {
		message, err := watch.Recv()
		check(err)
		revision = message.Revision
	}
	fmt.Println("watched:", revision.Type, revision.Patient.Phone)

	_, err = patients.UpdatePatient(ctx, change)
	fmt.Println("rejected:", describe(err))

	deleted, err := patients.DeletePatient(ctx, &patientpb.DeletePatientRequest{Id: created.Id})
	check(err)
	require(deleted.DeleteTime != nil)
	fmt.Println("deleted")
}

func newPatient(name, word string) *patientpb.Patient {
	return &patientpb.Patient{Name: name + " " + word, Email: name + "." + word + "@clinic.test",
		Address: "1 High Street, Porto", DateOfBirth: "1980-02-29"}
}

// describe returns the reason and the invalid fields of an error.
func describe(err error) string {
	reason, fields := "", []string{}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.Reason
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
		}
	}
	slices.Sort(fields)
	return strings.Join(append([]string{reason}, fields...), " ")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func require(condition bool) {
	if !condition {
		log.Fatal("the responses differ")
	}
}

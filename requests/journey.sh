#!/bin/sh
# Signs up, logs in, creates a patient, and reads the patient's billing account and event over gRPC.
#
#   requests/journey.sh grpcurl                  native gRPC, with grpcurl
#   requests/journey.sh buf                      native gRPC, with buf curl
#   PROTOCOL=grpcweb requests/journey.sh buf     gRPC-Web, with buf curl
#
# Both tools read the message types from the gateway by reflection. ADDRESS is the gateway's address (default:
# localhost:8080). If sign-up is closed, as in the containers, set ADMIN_PASSWORD to the password of the first admin
# (ADMIN_EMAIL). The script then creates the user as that admin.
set -eu

tool=${1:?usage: journey.sh grpcurl|buf}
address=${ADDRESS:-localhost:8080}
token=

# Calls a method and prints the response.
call() {
    case $tool in
    grpcurl) grpcurl -plaintext -H "authorization: Bearer $token" -d "$2" "$address" "$1" ;;
    buf)
        buf curl --http2-prior-knowledge --protocol "${PROTOCOL:-grpc}" -H "authorization: Bearer $token" -d "$2" \
            "http://$address/$1"
        ;;
    esac
}

# Reads a response from standard input and prints the first string field with the given name.
text() {
    sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1
}

# Calls a method until the response contains the given field, for up to 30 seconds, and prints the response. Billing
# accounts and events are created asynchronously.
await() {
    tries=30
    while response=$(call "$1" "$2") || exit 1; ! echo "$response" | grep -q "\"$3\"" && [ $((tries -= 1)) -gt 0 ]; do
        sleep 1
    done
    echo "$response"
}

name=journey-$(date +%s)-$$
email=$name@clinic.test
password='correct horse'

# Logs in and prints the access token.
log_in() {
    call pulsetrack.auth.v1.AuthService/Login "{\"email\": \"$1\", \"password\": \"$2\"}" | text accessToken
}

create=SignUp
if [ -n "${ADMIN_PASSWORD:-}" ]; then
    token=$(log_in "${ADMIN_EMAIL:-admin@pulsetrack.local}" "$ADMIN_PASSWORD")
    create=CreateUser
fi
call "pulsetrack.auth.v1.AuthService/$create" \
    "{\"email\": \"$email\", \"username\": \"$name\", \"password\": \"$password\"}"
token=$(log_in "$email" "$password")
call pulsetrack.auth.v1.AuthService/GetCurrentUser '{}'

patient=$(call pulsetrack.patient.v1.PatientService/CreatePatient "{\"patient\": {
    \"name\": \"José Pérez\", \"email\": \"jose.$email\", \"address\": \"1 High Street\", \"date_of_birth\": \"1980-02-29\"
}}" | text id)
call pulsetrack.patient.v1.PatientService/GetPatient "{\"id\": \"$patient\"}"
call pulsetrack.patient.v1.PatientService/UpdatePatient \
    "{\"patient\": {\"id\": \"$patient\", \"phone\": \"+351 21 000 000\"}}"
call pulsetrack.patient.v1.PatientService/ListPatientRevisions "{\"id\": \"$patient\"}"

await pulsetrack.billing.v1.BillingService/ListBillingAccounts "{\"patient_id\": \"$patient\"}" billingAccounts
await pulsetrack.analytics.v1.AnalyticsService/ListPatientEvents "{\"patient_id\": \"$patient\"}" events
call pulsetrack.analytics.v1.AnalyticsService/GetPatientStatistics '{}'

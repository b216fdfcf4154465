import com.google.protobuf.FieldMask;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.pulsetrack.auth.v1.AuthServiceGrpc;
import com.pulsetrack.auth.v1.LoginRequest;
import com.pulsetrack.patient.v1.CreatePatientRequest;
import com.pulsetrack.patient.v1.DeletePatientRequest;
import com.pulsetrack.patient.v1.GetPatientRequest;
import com.pulsetrack.patient.v1.ListPatientsRequest;
import com.pulsetrack.patient.v1.Patient;
import com.pulsetrack.patient.v1.PatientServiceGrpc;
import com.pulsetrack.patient.v1.PatientServiceGrpc.PatientServiceBlockingV2Stub;
import com.pulsetrack.patient.v1.Revision;
import com.pulsetrack.patient.v1.UpdatePatientRequest;
import com.pulsetrack.patient.v1.WatchPatientsRequest;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** The journey of a user, with grpc-java stubs. */
class Journey {
  interface Call {
    Message run() throws StatusException;
  }

  public static void main(String[] arguments) throws Exception {
    String target = System.getenv("URL").replaceFirst("^http://", "");
    ManagedChannel channel = ManagedChannelBuilder.forTarget(target).usePlaintext().build();
    try {
      var login = LoginRequest.newBuilder().setEmail("admin@pulsetrack.local").setPassword(System.getenv("PASSWORD"));
      var tokens = AuthServiceGrpc.newBlockingV2Stub(channel).login(login.build());
      System.out.println("logged in");
      var headers = new Metadata();
      var key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
      headers.put(key, "Bearer " + tokens.getAccessToken());
      visit(PatientServiceGrpc.newBlockingV2Stub(channel)
          .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
          .withDeadlineAfter(30, TimeUnit.SECONDS));
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  static void visit(PatientServiceBlockingV2Stub patients) throws Exception {
    String word = UUID.randomUUID().toString().replace("-", "");
    var request = CreatePatientRequest.newBuilder().setPatient(newPatient("Ana", word)).setRequestId("ana-" + word).build();
    Patient created = patients.createPatient(request);
    require(patients.createPatient(request).equals(created));
    patients.createPatient(CreatePatientRequest.newBuilder().setPatient(newPatient("Rui", word)).build());
    System.out.println("created once per request ID");

    var invalid = Patient.newBuilder().setName("Ana").setEmail("x");
    var rejected = CreatePatientRequest.newBuilder().setPatient(invalid).build();
    System.out.println("rejected: " + describe(() -> patients.createPatient(rejected)));

    require(patients.getPatient(GetPatientRequest.newBuilder().setId(created.getId()).build()).equals(created));
    int found = 0;
    var page = ListPatientsRequest.newBuilder().setQuery(word).setPageSize(1);
    do {
      var listed = patients.listPatients(page.build());
      found += listed.getPatientsCount();
      page.setPageToken(listed.getNextPageToken());
    } while (!page.getPageToken().isEmpty());
    System.out.println("listed: " + found);

    var watch = patients.watchPatients(WatchPatientsRequest.getDefaultInstance());
    watch.read();
    var change = UpdatePatientRequest.newBuilder()
        .setPatient(Patient.newBuilder().setId(created.getId()).setEtag(created.getEtag()).setPhone("+351 21 000 000"))
        .setUpdateMask(FieldMask.newBuilder().addPaths("phone")).build();
    patients.updatePatient(change);
    Revision revision;
    do {
      revision = watch.read().getRevision();
    } while (!revision.getPatient().getId().equals(created.getId()));
    watch.cancel("seen", null);
    System.out.println("watched: " + revision.getType() + " " + revision.getPatient().getPhone());

    System.out.println("rejected: " + describe(() -> patients.updatePatient(change)));

    require(patients.deletePatient(DeletePatientRequest.newBuilder().setId(created.getId()).build()).hasDeleteTime());
    System.out.println("deleted");
  }

  static Patient newPatient(String name, String word) {
    return Patient.newBuilder().setName(name + " " + word).setEmail(name + "." + word + "@clinic.test")
        .setAddress("1 High Street, Porto").setDateOfBirth("1980-02-29").build();
  }

  /** Returns the reason and the invalid fields of the error with which a call fails. */
  static String describe(Call call) throws Exception {
    try {
      call.run();
    } catch (StatusException error) {
      String reason = "";
      List<String> fields = new ArrayList<>();
      for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(BadRequest.class)) {
          detail.unpack(BadRequest.class).getFieldViolationsList().forEach(violation -> fields.add(violation.getField()));
        }
      }
      fields.sort(null);
      fields.add(0, reason);
      return String.join(" ", fields);
    }
    throw new AssertionError("the call succeeded");
  }

  static void require(boolean condition) {
    if (!condition) {
      throw new AssertionError("the responses differ");
    }
  }
}

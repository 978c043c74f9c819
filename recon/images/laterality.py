"""Body parts that exist on two sides: their images need DICOM's attribute Laterality, others may not have it."""

PAIRED_BODY_PARTS = frozenset(
    {
        *("ANKLE", "ARM", "BREAST", "CLAVICLE", "EAR", "ELBOW", "EXTREMITY", "EYE", "FEMUR", "FINGER", "FOOT"),
        *("FOREARM", "HAND", "HIP", "HUMERUS", "KNEE", "LEG", "RADIUS", "SCAPULA", "SHOULDER", "THIGH", "THUMB"),
        *("TIBIA", "TOE", "ULNA", "WRIST"),
    }
)
